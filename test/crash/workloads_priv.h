/* Between the files of workloads. */
#ifndef ZKV_TEST_CRASH_WORKLOADS_PRIV_H
#define ZKV_TEST_CRASH_WORKLOADS_PRIV_H

#include "workloads.h"

/* An open store with n small objects. */
void w_begin_with(struct world *, unsigned n);
/* The rule for the rewrite goes by the index's count of members. */
void w_claim_many_members(struct world *);

/* Of multipart uploads. */
void run_upload(struct world *);
void run_upload_and_after(struct world *);
void run_upload_rolls_over(struct world *);
void run_parts_of_others_bytes(struct world *);
void run_upload_aborted(struct world *);
void run_uploads_side_by_side(struct world *);
void run_upload_of_three_sessions(struct world *);
void run_killed_amid_uploads(struct world *);
void run_killed_in_recovery_of_uploads(struct world *);
void run_uploads_expire_by_themselves(struct world *);
void run_upload_sync_fails(struct world *);
void run_rewrite_amid_uploads(struct world *);
void run_rebuild_amid_uploads(struct world *);

#endif
