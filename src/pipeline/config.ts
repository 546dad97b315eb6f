/**
 * The settings of a study: `compress-distill run FILE.yaml`. Defaults follow the paper where its text gives a value;
 * the others are ours and say so. Paths are relative to the working directory.
 */
import { z } from 'zod';
import { datasetNames } from '../data/datasets/registry.js';
import { readYaml } from '../data/yaml_file.js';
import { meshSchema } from '../distributed/mesh_shape.js';
import { kvCacheDtypes } from '../engine/kv_plan.js';
import { UserError } from '../errors.js';
import { defaultDtype } from '../tensor/dtype.js';
import { parseTrainConfig, type TrainConfig } from '../training/config.js';
import { parseStrict } from '../training/strict_schema.js';
import { checkTemplate } from './prompt_template.js';

const positiveInteger = z.number().int().min(1);
const name = z
  .string()
  .regex(/^[A-Za-z0-9][\w.-]*$/, 'a name of letters, digits, `.`, `_` and `-`, since it becomes a file name,');

/** A prompt template; `{{question}}` and the like are filled in, single braces stand for themselves. */
const template = (allowed: readonly string[], required: readonly string[] = []) =>
  z.string().superRefine((text, context) => {
    const problem = checkTemplate(text, allowed, required);
    if (problem !== null) context.addIssue({ code: 'custom', message: problem, input: text });
  });

/** How text is sampled; names and defaults as in vLLM's SamplingParams unless a section says otherwise. */
const samplingShape = {
  /** 0 is greedy. */
  temperature: z.number().min(0),
  topP: z.number().gt(0).max(1).optional(),
  /** 0: all tokens. */
  topK: z.number().int().min(0).optional(),
  minP: z.number().min(0).max(1).optional(),
  presencePenalty: z.number().min(-2).max(2).optional(),
  frequencyPenalty: z.number().min(-2).max(2).optional(),
  repetitionPenalty: z.number().gt(0).optional(),
  /** Most tokens of a response. Default: to the end of the model's context. */
  maxTokens: positiveInteger.optional(),
  minTokens: z.number().int().min(0).optional(),
  stop: z.array(z.string().min(1)).optional(),
};

type Given<T> = { [K in keyof T]?: Exclude<T[K], undefined> };

function withoutUndefined<T extends object>(value: T): Given<T> {
  return Object.fromEntries(Object.entries(value).filter(([, given]) => given !== undefined)) as Given<T>;
}

const questionSource = z
  .strictObject({
    /** The built-in generator of word problems… */
    generate: z.enum(['arithmetic']).optional(),
    /** …with these difficulties (1 one sum, 2 one product or two sums, 3 a product and a sum). Default: all. */
    levels: z.array(z.number().int().min(1).max(3)).min(1).optional(),
    /** …or a JSONL file of `{"id", "question", "answer", "answerType"}`… */
    file: z.string().min(1).optional(),
    /** …or a published dataset… */
    dataset: z.enum(datasetNames).optional(),
    /** …in this file, or folder of files, as it comes from the Hugging Face Hub: parquet, JSONL or JSON. */
    path: z.string().min(1).optional(),
    /** …of this split. Default: the dataset's own for training, or for evaluation. */
    split: z.string().min(1).optional(),
    /** …of these subjects or categories (`stem`, `humanities`, `social_sciences`, `other`, `medical`) of MMLU. Default: all. */
    subjects: z.array(z.string()).min(1).optional(),
    /** How many questions: required with `generate`; the first ones of a `file`, a sample of a `dataset`; default all. */
    count: positiveInteger.optional(),
  })
  .superRefine((source, context) => {
    const issue = (message: string) => context.addIssue({ code: 'custom', message, input: source });
    const { generate, file, dataset } = source;
    const kinds = [generate, file, dataset].filter((kind) => kind !== undefined);
    if (kinds.length !== 1) return issue("either 'generate' or 'file' or 'dataset'");
    if (generate !== undefined && source.count === undefined) issue("given a 'count' with 'generate'");
    if (generate === undefined && source.levels !== undefined) issue("without 'levels' unless it is generated");
    if (dataset !== undefined && source.path === undefined) issue("given a 'path' with 'dataset'");
    if (source.subjects !== undefined && dataset !== 'mmlu') issue("without 'subjects' unless 'dataset' is mmlu");
    const stray =
      dataset === undefined ? (['path', 'split'] as const).find((key) => source[key] !== undefined) : undefined;
    if (stray !== undefined) issue(`without '${stray}' unless it is a 'dataset'`);
  });

/** One source, or several whose questions follow one another. */
const questionSources = z
  .union([questionSource, z.array(questionSource).min(1)])
  .transform((sources) => (Array.isArray(sources) ? sources : [sources]));

const teacherSchema = z.strictObject({
  /** A directory, a GGUF file or a fetched name such as `smollm2-135m-instruct`. Required. */
  model: z.string().min(1),
  /** System prompt. Default: none, so the chat template's own. */
  system: z.string().optional(),
  /** The user's turn; must hold {{question}}. */
  prompt: template(['question'], ['question']).default(
    '{{question}}\n\nPlease reason step by step, and put your final answer within \\boxed{}.',
  ),
  /** Solved examples, put before the question as earlier turns of the conversation: few-shot prompting. Default: none. */
  examples: z.array(z.strictObject({ question: z.string().min(1), response: z.string().min(1) })).default([]),
  /** Text put at the start of the answer, such as `<think>\n`; it counts as part of the response. Default: none. */
  continuation: z.string().default(''),
  /** Where the reasoning is: between `<think>` and `</think>` (`think`, default), or the whole response (`all`). */
  reasoning: z.enum(['think', 'all']).default('think'),
  /** K: how often a question is tried before it is given up. Default: 4 (ours; the paper's value is not given). */
  attempts: positiveInteger.default(4),
  /** Default: temperature 0.7, topP 0.95 (ours). */
  sampling: z
    .strictObject({
      ...samplingShape,
      temperature: samplingShape.temperature.default(0.7),
      topP: z.number().gt(0).max(1).default(0.95),
    })
    .prefault({}),
});

const compressorSchema = z.strictObject({
  /** The arm's name in tables and files. Required. */
  name,
  model: z.string().min(1),
  system: z.string().optional(),
  /** One generic prompt; must hold {{reasoning}}, may hold {{question}} and {{answer}}. */
  prompt: template(['question', 'reasoning', 'answer'], ['reasoning']).default(
    'Rewrite the reasoning below in a shorter form. Keep the essential logical steps, the key insights and the final ' +
      'answer; leave out repetition, detours and checks. Write the shorter reasoning and nothing else.\n\n' +
      'Question:\n{{question}}\n\nReasoning:\n{{reasoning}}',
  ),
  /** Examples of a compression, put before the trace as earlier turns of the conversation. Default: none (paper). */
  examples: z
    .array(
      z.strictObject({
        question: z.string().default(''),
        reasoning: z.string().min(1),
        answer: z.string().default(''),
        response: z.string().min(1),
      }),
    )
    .default([]),
  /** Text put at the start of the compressor's answer; not part of the compressed reasoning. Default: none. */
  continuation: z.string().default(''),
  /** Tries per trace until a compression is usable: not empty, not cut off, short enough. Default: 1 (paper). */
  attempts: positiveInteger.default(1),
  /** A compression longer than this share of the original's characters is not usable. Default: 1. */
  maxRatio: z.number().positive().default(1),
  /** Whether a compression is usable only if the question's answer can still be read from it. Default: false (paper). */
  keepAnswer: z.boolean().default(false),
  /** Default: temperature 0.3 (paper). */
  sampling: z.strictObject({ ...samplingShape, temperature: samplingShape.temperature.default(0.3) }).prefault({}),
});

const truncateSchema = z.strictObject({
  /** The compressor whose length each raw trace is cut to. Default: the first. */
  like: z.string().optional(),
  /** The model whose tokenizer counts. Default: that compressor's. */
  tokenizer: z.string().optional(),
});

const studentSchema = z.strictObject({
  /** The student's name in tables and files. Required. */
  name,
  model: z.string().min(1),
  /** `lora` (default) or `full`. */
  method: z.enum(['lora', 'full']).default('lora'),
  /** Which arms it is trained on: `raw`, a compressor's name, `truncated`, `answer-only`. Default: all. */
  arms: z.array(z.string()).min(1).optional(),
  /** Settings of the training run, as in a training file without model, data, output and device. */
  training: z.record(z.string(), z.unknown()).default({}),
});

const schema = z.strictObject({
  /** The folder of the run; started again, a run goes on where it stopped. Required. */
  run: z.string().min(1),
  /** Decides questions, samples, training order. Default: 0. */
  seed: z.number().int().min(0).default(0),
  /** `cpu` (default) or `cuda:0`. */
  device: z.string().min(1).default('cpu'),
  /** Of the weights while generating and training. Default: f32 on the CPU, bf16 on CUDA. */
  dtype: z.enum(['f32', 'bf16']).optional(),
  /** CPU threads. Default: all cores. */
  threads: positiveInteger.optional(),
  /** Devices that generate and train together: replicas of a model, and devices of each; a student's `training` can have its own. GPUs are those from `device` on. Default: one. */
  mesh: meshSchema.prefault({}),
  /** How the inference engine uses memory; names and defaults are the engine's. `kvCacheDtype: fp8` rounds keys and values, so rows differ. */
  engine: z
    .strictObject({
      maxNumSeqs: positiveInteger.optional(),
      maxNumBatchedTokens: positiveInteger.optional(),
      kvCacheDtype: z.enum(kvCacheDtypes).optional(),
      kvCacheBytes: positiveInteger.optional(),
      kvCacheFraction: z.number().gt(0).max(1).optional(),
      maxModelLen: positiveInteger.optional(),
    })
    .default({})
    .transform(withoutUndefined),
  questions: z.strictObject({ train: questionSources, eval: questionSources }),
  teacher: teacherSchema,
  compressors: z.array(compressorSchema).min(1),
  /** The length-matched ablation; `false` leaves the arm out. Default: like the first compressor. */
  truncate: z.union([z.literal(false), truncateSchema]).default({}),
  /** What students are trained to write, and asked with when evaluated. */
  target: z
    .strictObject({
      system: z.string().optional(),
      /** The user's turn. Default: the question alone. */
      prompt: template(['question'], ['question']).default('{{question}}'),
      /** The reasoning part, left out in the answer-only arm. */
      reasoning: template(['reasoning'], ['reasoning']).default('<think>\n{{reasoning}}\n</think>\n\n'),
      /** The answer part: {{answer}} is the question's answer, {{response}} what the teacher wrote after its reasoning. */
      answer: template(['answer', 'response']).default('The answer is {{answer}}.'),
    })
    .prefault({}),
  students: z.array(studentSchema).min(1),
  /** Whether every arm trains on the same questions, those usable in all arms. Default: true. */
  matched: z.boolean().default(true),
  evaluate: z
    .strictObject({
      /** The cap on a response. Default: 8192 (paper). Decoding is greedy. */
      maxTokens: positiveInteger.default(8192),
      /** Whether the untrained student is evaluated too. Default: true. */
      baseline: z.boolean().default(true),
    })
    .prefault({}),
  /** What energy and carbon are reckoned with. */
  costs: z
    .strictObject({
      /** Rated power of a device, where the machine reports no energy. Default: 700 (H100 SXM, paper), 5 per CPU thread (ours). */
      watts: z.number().positive().optional(),
      /** What the building takes over what its computers take. Default: 1.15 (paper). */
      pue: z.number().min(1).default(1.15),
      /** Grams of CO₂ equivalents for a kilowatt-hour. Default: 445, about the world's mix (ours); look up your grid's. */
      gramsPerKwh: z.number().min(0).default(445),
    })
    .prefault({}),
});

/** The arms that are not a compressor's. */
export const fixedArms = ['raw', 'truncated', 'answer-only'] as const;
/** The untrained student's name in place of an arm. */
export const baselineArm = 'untrained';

export type QuestionSource = z.output<typeof questionSource>;
export type TeacherConfig = z.output<typeof teacherSchema>;
export type CompressorConfig = z.output<typeof compressorSchema>;
export interface StudentConfig {
  name: string;
  model: string;
  method: 'lora' | 'full';
  arms: string[];
  /** Defaults filled in; model, data and output are set per arm. */
  training: TrainConfig;
}
export type StudyConfig = Omit<z.output<typeof schema>, 'students' | 'truncate' | 'dtype'> & {
  dtype: 'f32' | 'bf16';
  truncate: { like: string; tokenizer: string } | null;
  students: StudentConfig[];
};

/** What the pipeline decides for every training run. */
const reservedTrainingKeys = ['model', 'data', 'output', 'method', 'device', 'dtype', 'threads', 'seed', 'resume'];

/**
 * Checks a study's settings and fills in the defaults.
 * @param where what error messages start with, the file's name
 * @throws {UserError} one line naming the key
 */
export function parseStudyConfig(value: unknown, where = 'study'): StudyConfig {
  const settings = parseStrict(schema, value, where);
  const fail = (message: string): never => {
    throw new UserError(`${where}: ${message}`);
  };
  const names = settings.compressors.map((compressor) => compressor.name);
  for (const [index, name] of names.entries()) {
    if ([...fixedArms, baselineArm].includes(name as never) || names.indexOf(name) !== index) {
      fail(`Expected 'compressors.${index}.name' to be unlike any other arm's but received '${name}'; rename it`);
    }
  }
  const truncate = resolveTruncate(settings.truncate, settings.compressors, fail);
  const arms = ['raw', ...names, ...(truncate === null ? [] : ['truncated']), 'answer-only'];
  const dtype = settings.dtype ?? defaultDtype(settings.device);
  const students = settings.students.map((student, index) => {
    const path = `students.${index}`;
    if (settings.students.findIndex((other) => other.name === student.name) !== index) {
      fail(`Expected '${path}.name' to be unique but received '${student.name}' again; rename it`);
    }
    const unknown = student.arms?.find((arm) => !arms.includes(arm));
    if (unknown !== undefined) {
      fail(`Expected '${path}.arms' to name arms of this study (${arms.join(', ')}) but received '${unknown}'`);
    }
    const reserved = reservedTrainingKeys.find((key) => key in student.training);
    if (reserved !== undefined) {
      fail(`Expected '${path}.training' without '${reserved}', which the study itself decides; remove it`);
    }
    const training = parseTrainConfig(
      {
        mesh: settings.mesh,
        ...student.training,
        model: student.model,
        data: 'set per arm',
        output: 'set per arm',
        method: student.method,
        device: settings.device,
        dtype,
        ...(settings.threads === undefined ? {} : { threads: settings.threads }),
        seed: settings.seed,
      },
      `${where}: ${path}.training`,
    );
    const { name, model, method } = student;
    return { name, model, method, arms: student.arms ?? arms, training };
  });
  return { ...settings, dtype, truncate, students };
}

function resolveTruncate(
  truncate: z.output<typeof schema>['truncate'],
  compressors: readonly CompressorConfig[],
  fail: (message: string) => never,
): StudyConfig['truncate'] {
  if (truncate === false) return null;
  const like = truncate.like ?? compressors[0]!.name;
  const compressor = compressors.find((candidate) => candidate.name === like);
  if (compressor === undefined) {
    return fail(
      `Expected 'truncate.like' to name a compressor (${compressors.map((c) => c.name).join(', ')}) but received '${like}'`,
    );
  }
  return { like, tokenizer: truncate.tokenizer ?? compressor.model };
}

/** Every key of a study, however deep; those of a student's `training` are not among them. */
export function studyKeys(): string[] {
  const found = new Set<string>();
  const walk = (node: unknown): void => {
    if (typeof node !== 'object' || node === null) return;
    for (const [name, inner] of Object.entries((node as { properties?: object }).properties ?? {})) {
      found.add(name);
      walk(inner);
    }
    for (const part of ['items', 'anyOf', 'allOf'] as const) {
      const inner = (node as Record<string, unknown>)[part];
      for (const schema of Array.isArray(inner) ? inner : [inner]) walk(schema);
    }
  };
  walk(z.toJSONSchema(schema, { io: 'input', reused: 'inline' }));
  return [...found];
}

/** Reads a study's settings. @returns the settings, and the file's text as it stood. */
export async function loadStudyConfig(file: string): Promise<{ config: StudyConfig; text: string }> {
  const { value, text } = await readYaml(file);
  return { config: parseStudyConfig(value, file), text };
}
