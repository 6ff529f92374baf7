// The arguments of attention's kernels. Packed keys and values are one page whose slots are rows.
STORED_ARGUMENTS {
  BATCH_ARGUMENTS;
  READS(q);
  int64_t q_token_pitch;
  int64_t q_head_pitch;
  READS(k);
  int64_t k_page_pitch;
  int64_t k_slot_pitch;
  int64_t k_head_pitch;
  READS(v);
  int64_t v_page_pitch;
  int64_t v_slot_pitch;
  int64_t v_head_pitch;
  int dim;
  int value_dim;
  int first_head;
  int heads;
  int slots;
  float scale_log2;
  int aligned;
  WRITES(parts);
  int part_pitch;
  WRITES(part_sums);
#ifdef KERNEL_moba_listed
  READS(blocks);
  READS(offsets);
  READS(tiles_before);
  READS(list_of_tile);
  READS(entries);
  int64_t entries_per_head;
  int block_count;
#endif
#ifdef KERNEL_moba_direct
  READS(selection);
  int64_t selection_token_pitch;
  int64_t selection_head_pitch;
  int lanes;
#endif
};
TAKES_ARGUMENTS;
