// Row lookup by id (also used to gather rows of any matrix), forward and backward.
//
// embedding            y[n] = table[ids[n]], zeros for an id of −1 (none) or −2 (a row that another rank holds)
//   table [V, E] f32|bf16|fp8, ids [N] i32 → y [N, E] of table's dtype (overwritten); table and y may be narrowed
// embedding_backward   dTable[ids[n]] += dy[n], nothing for −1 and −2
//   ids [N] i32, dy [N, E] f32|bf16, dTable [V, E] f32 (accumulated into, in f32)
// local_ids            y[n] = ids[n] − first where first ≤ ids[n] < first + rows; −1 where ids[n] is; −2 elsewhere
//   ids [N] i32, of a table of `vocabulary` rows → y [N] i32 (overwritten): what a rank that holds `rows` of them calls them
// An id outside [−2, V) (local_ids: [−1, vocabulary)) is a failure at run time that names it and its place; what is written is
// then not usable. Order: a row of dTable receives its dy in the order of n (the work is cut along E), whatever the threads.
