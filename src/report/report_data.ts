/** What a report shows. Plain data: it is also written as report.json, for other tools. */
import type { Expected } from './expected.js';

export interface Outcome {
  /** Of the held-out question; arms are compared on the same questions. */
  id: string;
  dataset: string;
  correct: boolean;
  /** Cut off at the cap on tokens. */
  truncated: boolean;
  completionTokens: number;
  reasoningCharacters: number;
  reasoningTokens: number;
}

export interface ArmReport {
  arm: string;
  /** The student as it was before training. */
  untrained: boolean;
  training: { rows: number; tokens: number; epochs: number; seconds: number; finalLoss: number } | null;
  loss: { step: number; loss: number }[];
  outcomes: Outcome[];
}

export interface StudentReport {
  name: string;
  model: string;
  method: 'lora' | 'full';
  arms: ArmReport[];
}

export interface CompressorReport {
  name: string;
  model: string;
  /** Verified traces that it was given, and how many of its compressions could be used. */
  traces: number;
  usable: number;
  failures: string;
  /** Of the usable compressions, and of their originals in the same order; tokens in the compressor's tokenizer. */
  datasets: string[];
  characters: number[];
  originalCharacters: number[];
  tokens: number[];
  originalTokens: number[];
}

/** A question with its trace beside what became of it. */
export interface Sample {
  question: string;
  answer: string;
  dataset: string;
  /** Of every arm that has one, the raw trace first. */
  texts: { arm: string; text: string; tokens: number }[];
}

/** What a stage cost, over all the times it was started. */
export interface StageCost {
  stage: string;
  /** The arm it is for; null for what all arms share. */
  arm: string | null;
  seconds: number;
  deviceSeconds: number;
  promptTokens: number;
  tokens: number;
  /** At the socket of the datacentre: measured, or rated power × device-seconds; times the PUE. */
  kilowattHours: number;
  measured: boolean;
}

export interface CostFactors {
  /** Rated power of one device, for what is not measured. */
  watts: number;
  /** Power usage effectiveness: what the building takes over what its computers take. */
  pue: number;
  /** Of CO₂ equivalents for a kilowatt-hour. */
  gramsPerKwh: number;
  /** `GPU` or `CPU`. */
  device: string;
}

/** What a stage was expected to take before the run began, beside what it took. */
export interface PredictedStage {
  stage: string;
  predicted: { tokens: Expected; seconds: Expected };
  actual: { tokens: number; seconds: number };
}

export interface ReportData {
  title: string;
  created: string;
  settings: [name: string, value: string][];
  questions: { train: number; eval: number };
  traces: {
    questions: number;
    correct: number;
    rounds: { round: number; asked: number; correct: number }[];
    /** Why attempts failed, most frequent first. */
    failures: string;
    /** Of every verified trace: its dataset, reasoning length in characters, response length in tokens. */
    datasets: string[];
    characters: number[];
    tokens: number[];
    /** How many questions each dataset has. */
    asked: { dataset: string; questions: number }[];
  };
  compressors: CompressorReport[];
  /** Lengths of the truncated traces in tokens; null without that arm. */
  truncated: number[] | null;
  students: StudentReport[];
  samples: Sample[];
  costs: StageCost[];
  factors: CostFactors;
  /** What the expectation rests on, and its stages; null when none was made. */
  prediction: { basis: string; stages: PredictedStage[] } | null;
}
