/** What is benchmarked, and its sizes, as on the command line of `bench`. */
export const benchmarks: [what: string, shape: string][];
