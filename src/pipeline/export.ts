/** The datasets that a study made, one parquet file per arm, with a card: what, how, from which models, under which licences. */
import { closeSync, fsyncSync, mkdirSync, openSync, readFileSync, renameSync, rmSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { type ColumnSource, fileWriter, ParquetWriter, schemaFromColumnData } from 'hyparquet-writer';
import type { Question } from '../data/questions.js';
import { catalogue } from '../weights/catalogue.js';
import type { ArmData } from './arms.js';
import type { StudyResults } from './collect.js';
import type { StudyConfig } from './config.js';
import type { StudyContext } from './context.js';
import { writeFileAtomically, writing } from './files.js';

/** Rows that are in memory together. */
const groupRows = 1000;

interface DatasetRow {
  id: string;
  dataset: string | null;
  question: string;
  answer: string;
  answer_type: string;
  /** Null in the answer-only arm. */
  reasoning: string | null;
  /** The conversation that the arm's students were trained on. */
  messages: unknown;
}

const columns = {
  id: 'STRING',
  dataset: 'STRING',
  question: 'STRING',
  answer: 'STRING',
  answer_type: 'STRING',
  reasoning: 'STRING',
  messages: 'JSON',
} as const satisfies Record<keyof DatasetRow, string>;

function columnData(rows: readonly DatasetRow[]): ColumnSource[] {
  return Object.entries(columns).map(([name, type]) => ({
    name,
    type,
    data: rows.map((row) => row[name as keyof DatasetRow]),
  }));
}

/** Writes a parquet file or none, a group of rows at a time. */
export async function writeParquet(path: string, rows: Iterable<DatasetRow>): Promise<void> {
  const temporary = `${path}.tmp`;
  writing(path, () => mkdirSync(dirname(path), { recursive: true }));
  const writer = new ParquetWriter({
    writer: fileWriter(temporary),
    schema: schemaFromColumnData({ columnData: columnData([]) }),
    createdBy: 'compress-distill',
  });
  try {
    let group: DatasetRow[] = [];
    const flush = async () => {
      if (group.length > 0) await writer.write({ columnData: columnData(group), rowGroupSize: groupRows });
      group = [];
    };
    for (const row of rows) {
      group.push(row);
      if (group.length === groupRows) await flush();
    }
    await flush();
    await writer.finish();
  } catch (error) {
    rmSync(temporary, { force: true });
    writing(path, () => {
      throw error;
    });
  }
  writing(path, () => {
    const file = openSync(temporary, 'r');
    fsyncSync(file);
    closeSync(file);
    renameSync(temporary, path);
  });
}

/** Writes `datasets/<arm>.parquet` and `datasets/README.md` into the run's folder. */
export async function exportDatasets(
  context: StudyContext,
  results: StudyResults,
  dataOf: ReadonlyMap<string, ArmData>,
): Promise<void> {
  const questions = new Map(results.questions.train.map((question) => [question.id, question]));
  const sizes = new Map<string, number>();
  for (const [arm, data] of dataOf) {
    sizes.set(arm, data.size);
    await writeParquet(context.folder.file('datasets', `${arm}.parquet`), datasetRows(arm, data, questions, results));
  }
  writeFileAtomically(context.folder.file('datasets', 'README.md'), renderCard(context.config, results, sizes));
}

function* datasetRows(
  arm: string,
  data: ArmData,
  questions: ReadonlyMap<string, Question>,
  { traces, compressions, truncations }: StudyResults,
): Generator<DatasetRow> {
  const source =
    arm === 'raw' ? traces.source : arm === 'truncated' ? truncations?.source : compressions.get(arm)?.source;
  for (const { id, messages } of data.rows()) {
    const { question, answer, answerType, dataset } = questions.get(id)!;
    const reasoning = source?.reasoning(id) ?? null;
    yield { id, dataset: dataset ?? null, question, answer, answer_type: answerType, reasoning, messages };
  }
}

/** From the catalogue, or the front matter of the model's own card. */
export function licenseOf(model: string): string {
  const known = catalogue[model]?.license;
  if (known !== undefined) return known;
  try {
    const folder = statSync(model).isDirectory() ? model : dirname(model);
    const card = readFileSync(join(folder, 'README.md'), 'utf8');
    const license = /^---\n(?:[\s\S]*?\n)?license:\s*["']?([^\s"'#]+)/.exec(card)?.[1];
    return license ?? 'not stated by its card';
  } catch {
    return 'not known: the model has no card';
  }
}

const armMeaning: Record<string, string> = {
  raw: 'the traces as the teacher wrote them',
  truncated: 'raw traces cut to the length of compressed ones, in tokens',
  'answer-only': 'the answers without any reasoning',
};

function renderCard(config: StudyConfig, results: StudyResults, sizes: ReadonlyMap<string, number>): string {
  const { teacher, compressors, questions } = config;
  const models = new Map([
    ['teacher', teacher.model],
    ...compressors.map(({ name, model }) => [`compressor ${name}`, model] as const),
  ]);
  const sources = questions.train.map(({ generate, file, dataset, path }) =>
    generate !== undefined
      ? `the built-in generator (${generate}, seed ${config.seed})`
      : (file ?? `${dataset} (${path})`),
  );
  const fenced = (text: string) => `~~~~text\n${text}\n~~~~`;
  const meaning = (arm: string) => armMeaning[arm] ?? `the traces as compressor \`${arm}\` rewrote them`;
  return `---
configs:
${[...sizes.keys()].map((arm) => `  - config_name: ${arm}\n    data_files: ${arm}.parquet`).join('\n')}
tags: [reasoning, distillation, synthetic]
---

# Reasoning traces of ${config.run.split(/[\\/]/).at(-1)}

Synthetic reasoning traces, and what compression made of them, for supervised fine-tuning. Made by compress-distill: every
row was written by a language model, and none was checked by a person. ${results.traces.questions.length} of
${results.questions.train.length} questions were answered correctly and are here as far as every arm could use them.

| file | rows | what |
| --- | ---: | --- |
${[...sizes].map(([arm, rows]) => `| ${arm}.parquet | ${rows} | ${meaning(arm)} |`).join('\n')}

Columns: \`id\`, \`dataset\`, \`question\`, \`answer\` (the reference), \`answer_type\`, \`reasoning\`, \`messages\` (the conversation, as
students were trained on it).

## How

Questions: ${sources.join(', ')}. The teacher answered each until its extracted answer equalled the reference, at most
${teacher.attempts} times, at temperature ${teacher.sampling.temperature}; wrong answers are not here. Its prompt:

${fenced(teacher.prompt)}

${compressors
  .map(
    (
      compressor,
    ) => `Compressor \`${compressor.name}\` rewrote each right trace at temperature ${compressor.sampling.temperature}, at most
${compressor.attempts} times, until the result was usable (at most ${compressor.maxRatio} of the original's characters${compressor.keepAnswer ? ', the answer still to be read from it' : ''}):

${fenced(compressor.prompt)}`,
  )
  .join('\n\n')}

## From which models

| role | model | licence |
| --- | --- | --- |
${[...models].map(([role, model]) => `| ${role} | ${model} | ${licenseOf(model)} |`).join('\n')}

The text follows the licences of the models that wrote it, and of the questions. Look them up before you publish it.

## Limits

A trace counts as right when its final answer is: its steps may be wrong. Compression can drop or distort steps.
`;
}
