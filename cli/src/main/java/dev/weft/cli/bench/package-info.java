/**
 * What {@code weft bench} measures and how: {@link dev.weft.cli.bench.Preset}s are shapes with
 * names, a {@link dev.weft.cli.bench.Workload} is one of them on a device, a {@link
 * dev.weft.cli.bench.Measurement} is its times beside the {@link dev.weft.cli.bench.Ceilings} of
 * that device.
 */
package dev.weft.cli.bench;
