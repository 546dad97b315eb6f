/** What a program that imports compress-distill works with; the command line uses nothing else. */
export type { Completion } from './engine/completion.js';
export { Engine, type EngineOptions } from './engine/engine.js';
export type { GenerateRequest } from './engine/prompt.js';
export { SAMPLING_DEFAULTS, type SamplingParams } from './engine/sampling_params.js';
export { scoreDocuments } from './engine/score_documents.js';
export { UserError } from './errors.js';
export { type LoadedModel, type LoadOptions, loadModel } from './nn/load.js';
export { parseStudyConfig, type StudyConfig } from './pipeline/config.js';
export { runStudy, type StudyOptions, type StudyOutcome } from './pipeline/run.js';
export { Device, type DeviceOptions } from './tensor/device.js';
export { parseTrainConfig, type TrainConfig, type TrainSettings } from './training/config.js';
export type { Objective, ObjectiveBatch, ObjectiveRow, Ops } from './training/objectives/objective.js';
export { type TrainOptions, type TrainResult, train } from './training/train.js';
export { type FetchOptions, fetchModel } from './weights/fetch.js';
