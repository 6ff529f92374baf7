package dev.weft.gpu.moe;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.weft.DataType;
import dev.weft.gpu.ComputeTraits;
import dev.weft.gpu.MatrixUnits;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;

/** The tiles that products are cut into. */
class GroupTileTest {
  private static ComputeTraits traits(MatrixUnits units, long localBytes) {
    int wave = units == MatrixUnits.AMD_MFMA ? 64 : 32;
    return new ComputeTraits(64, 1024, localBytes, units, wave, false);
  }

  private static Stream<GroupTile> all() {
    return Stream.of(MatrixUnits.values())
        .map(units -> traits(units, 48 << 10))
        .flatMap(traits ->
            Stream.concat(
                GroupTile.plain(traits).stream(),
                GroupTile.of(DataType.F16, DataType.F16, traits).stream()));
  }

  @Test
  void everyTileFitsTheLocalMemoryOfUsualDevices() {
    all().forEach(tile -> assertTrue(tile.localBytes() <= 48 << 10, tile::toString));
  }

  @Test
  void noGroupIsLargerThan256() {
    all().forEach(tile -> assertTrue(tile.groupSize() <= 256, tile::toString));
  }

  @Test
  void aGroupCopiesWholeRowsOfChunks() {
    all()
        .forEach(tile -> {
          int chunks = tile.depth() * tile.type().bytes() / 16;
          assertEquals(0, tile.groupSize() % chunks, tile::toString);
        });
  }

  @Test
  void matrixUnitsMultiplyTwoEqualTypesOf16Bits() {
    ComputeTraits traits = traits(MatrixUnits.NVIDIA_MMA, 48 << 10);
    assertTrue(multipliesOnUnits(DataType.BF16, DataType.BF16, traits));
    assertFalse(multipliesOnUnits(DataType.F32, DataType.F32, traits));
    assertFalse(multipliesOnUnits(DataType.BF16, DataType.F16, traits));
  }

  @Test
  void tilesThatDoNotFitLocalMemoryAreNotTaken() {
    ComputeTraits traits = traits(MatrixUnits.AMD_WMMA, 32 << 10);
    assertFalse(multipliesOnUnits(DataType.BF16, DataType.BF16, traits));
  }

  @Test
  void moreLocalMemoryIsUsedWhereItIs() {
    ComputeTraits traits = traits(MatrixUnits.NVIDIA_MMA, 100 << 10);
    GroupTile tile = GroupTile.of(DataType.BF16, DataType.BF16, traits).getLast();
    assertTrue(tile.localBytes() > 48 << 10 && tile.localBytes() <= 100 << 10, tile::toString);
  }

  @Test
  void floatsHaveDeepTilesWhereThereIsMuchLocalMemory() {
    for (MatrixUnits units : List.of(MatrixUnits.NONE, MatrixUnits.NVIDIA_MMA)) {
      ComputeTraits traits = traits(units, 96 << 10);
      GroupTile tile = GroupTile.of(DataType.F32, DataType.F32, traits).getLast();
      assertEquals(32, tile.depth(), tile::toString);
      assertTrue(tile.localBytes() <= 64 << 10, tile::toString);
      assertFalse(tile.multipliesOnMatrixUnits(), tile::toString);
    }
  }

  private static boolean multipliesOnUnits(DataType first, DataType second, ComputeTraits traits) {
    List<Boolean> tiles =
        GroupTile.of(first, second, traits).stream()
            .map(GroupTile::multipliesOnMatrixUnits)
            .distinct()
            .toList();
    assertEquals(1, tiles.size());
    return tiles.getFirst();
  }
}
