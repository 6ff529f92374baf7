/**
 * The {@code weft} command: {@link dev.weft.cli.Main}, one class per subcommand, and what they
 * share (the console, tables, errors and exit codes).
 */
package dev.weft.cli;
