/**
 * What a random draw is for. Philox is keyed by (seed, purpose, step, index), so draws for different purposes never meet.
 * `layer` separates the modules of one model. The sampling kernel has a purpose of its own (kernels/sampling).
 */
export const dropoutPurpose = (module: number): number => 1024 + module;
export const initialisationPurpose = (module: number): number => (1 << 20) | module;
export const roundingPurpose = (parameter: number): number => (1 << 21) | parameter;
