// The arguments of selection's kernels.
STORED_ARGUMENTS {
  BATCH_ARGUMENTS;
  READS(q);
  int64_t q_token_pitch;
  int64_t q_head_pitch;
  READS(means);
  int64_t means_page_pitch;
  int64_t means_slot_pitch;
  int64_t means_head_pitch;
  int dim;
  int first_head;
  int slots;
  int aligned;
  WRITES(selection);
  int64_t selection_token_pitch;
  int64_t selection_head_pitch;
  int columns;
  CHANGES(heaps);
};
