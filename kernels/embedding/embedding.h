// Row lookup by id (also used to gather rows of any matrix), forward and backward.
//
// embedding            y[n] = table[ids[n]]
//   table [V, E] f32|bf16, ids [N] i32 → y [N, E] of table's dtype (overwritten); table and y may be narrowed
// embedding_backward   dTable[ids[n]] += dy[n]
//   ids [N] i32, dy [N, E] f32|bf16, dTable [V, E] f32 (accumulated into, in f32)
// An id outside [0, V) is a failure at run time that names it and its place; y, or dTable, is then not usable.
// Order: a row of dTable receives its dy in the order of n (the work is cut along E), whatever the threads.
