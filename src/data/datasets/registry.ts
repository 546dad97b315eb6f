/** The published datasets that a study can take its questions from. */
import type { DatasetAdapter } from './adapter.js';
import { aquaRat } from './aqua_rat.js';
import { arcChallenge, arcEasy } from './arc.js';
import { boolq } from './boolq.js';
import { commonsenseQa } from './commonsense_qa.js';
import { gpqa } from './gpqa.js';
import { gsm8k } from './gsm8k.js';
import { hellaswag } from './hellaswag.js';
import { medexpqa } from './medexpqa.js';
import { medmcqa } from './medmcqa.js';
import { medqa } from './medqa.js';
import { mmlu } from './mmlu.js';
import { multiarith } from './multiarith.js';
import { piqa } from './piqa.js';
import { svamp } from './svamp.js';
import { truthfulQa } from './truthful_qa.js';
import { winogrande } from './winogrande.js';

const adapters = {
  gsm8k,
  svamp,
  multiarith,
  aqua_rat: aquaRat,
  arc_challenge: arcChallenge,
  arc_easy: arcEasy,
  gpqa,
  commonsense_qa: commonsenseQa,
  medqa,
  medmcqa,
  medexpqa,
  mmlu,
  hellaswag,
  winogrande,
  piqa,
  boolq,
  truthful_qa: truthfulQa,
} satisfies Record<string, DatasetAdapter>;

export type DatasetName = keyof typeof adapters;
export const datasetNames = Object.keys(adapters) as [DatasetName, ...DatasetName[]];
export const datasetAdapter = (name: DatasetName): DatasetAdapter => adapters[name];
