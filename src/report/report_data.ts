/** What a report shows. Plain data: it is also written as report.json, for other tools. */

export interface Outcome {
  /** Of the held-out question; arms are compared on the same questions. */
  id: string;
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
  characters: number[];
  originalCharacters: number[];
  tokens: number[];
  originalTokens: number[];
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
    /** Reasoning length in characters and response length in tokens of every verified trace. */
    characters: number[];
    tokens: number[];
  };
  compressors: CompressorReport[];
  /** Lengths of the truncated traces in tokens; null without that arm. */
  truncated: number[] | null;
  students: StudentReport[];
  samples: { question: string; answer: string; texts: { arm: string; text: string }[] }[];
  costs: { stage: string; seconds: number; tokens: number }[];
}
