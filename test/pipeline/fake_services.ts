/**
 * A deterministic stand-in for engine and trainer: what a request gets depends on the request alone, the order in which
 * completions come does not. It can be told to die, or to be interrupted, after a number of completions or training steps.
 */
import { createHash } from 'node:crypto';
import { appendFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseStudyConfig } from '../../src/pipeline/config.js';
import type { OpenModel, Services, TextCompletion, TextRequest, TextTokenizer } from '../../src/pipeline/services.js';
import type { TrainConfig } from '../../src/training/config.js';

export function hash(text: string): number {
  return createHash('sha256').update(text).digest().readUInt32BE(0);
}

/** Words are tokens. */
export function wordTokenizer(): TextTokenizer {
  const words: string[] = [];
  const ids = new Map<string, number>();
  return {
    encode: (text) =>
      (text.match(/\s*\S+/g) ?? []).map((word) => {
        if (!ids.has(word)) ids.set(word, words.push(word) - 1);
        return ids.get(word)!;
      }),
    decode: (tokens) => tokens.map((token) => words[token]).join(''),
  };
}

export interface FakeOptions {
  /** After so many completions and training steps, all services together, `stop` is called once. */
  dieAfter?: number;
  stop?: () => void;
  /** Decides the order of completions and nothing else. */
  order?: number;
  /** Of models; part of every row's identity. */
  version?: string;
  /** Of the machine; part of every row's identity. */
  numerics?: string;
  /** Overrides a completion; undefined lets it be. */
  complete?: (request: TextRequest, model: string) => Partial<TextCompletion> | undefined;
}

export class FakeServices implements Services {
  /** Ids of all requests that were made, and the training runs. */
  readonly requests: string[] = [];
  readonly trainings: string[] = [];
  /** What was measured. */
  readonly measured: string[] = [];
  closed = false;
  readonly #options: FakeOptions;
  readonly #tokenizer = wordTokenizer();
  #work = 0;

  constructor(options: FakeOptions = {}) {
    this.#options = options;
  }

  #tick(): void {
    if (++this.#work === this.#options.dieAfter) this.#options.stop?.();
  }

  async fingerprint(model: string): Promise<string> {
    return `${model} ${this.#options.version ?? '1'}`;
  }

  async tokenizer(): Promise<TextTokenizer> {
    return this.#tokenizer;
  }

  async machine() {
    return { 'Instruction set': 'none' };
  }

  async numerics() {
    return this.#options.numerics ?? 'none';
  }

  async measure(model: string) {
    this.measured.push(model);
    return { prefill: 1000, step: { base: 0.01, perSequence: 0.001 }, load: 1 };
  }

  async measureTraining({ model }: TrainConfig) {
    this.measured.push(`train ${model}`);
    return { tokensPerSecond: 500, setup: 2 };
  }

  async close(): Promise<void> {
    this.closed = true;
  }

  async open(model: string, { adapter }: { adapter?: string | undefined } = {}): Promise<OpenModel> {
    const trained = adapter === undefined ? '' : readFileSync(join(adapter, 'weights'), 'utf8');
    const tick = () => this.#tick();
    const { requests: log } = this;
    const { order = 0, complete } = this.#options;
    const tokenizer = this.#tokenizer;
    async function* generate(requests: Iterable<TextRequest>, { signal }: { signal: AbortSignal }) {
      const shuffled = [...requests].sort((a, b) => hash(`${order} ${a.id}`) - hash(`${order} ${b.id}`));
      for (const request of shuffled) {
        await new Promise(setImmediate);
        log.push(request.id);
        const completion: TextCompletion = {
          id: request.id,
          promptTokens: 10,
          finishReason: 'stop',
          tokens: [],
          text: respond(request, model, trained),
          ...complete?.(request, model),
        };
        if (completion.tokens.length === 0) completion.tokens = tokenizer.encode(completion.text);
        if (signal.aborted) completion.finishReason = 'aborted';
        yield completion;
        tick();
      }
    }
    return {
      tokenizer,
      render: (messages, continuation) =>
        `${messages.map(({ role, content }) => `<${role}>${content}`).join('')}<assistant>${continuation}`,
      generate,
    };
  }

  async train(config: TrainConfig, { signal, onStep }: Parameters<Services['train']>[1]) {
    const data = readFileSync(config.data[0]!, 'utf8');
    mkdirSync(config.output, { recursive: true });
    const metricsFile = join(config.output, 'metrics.jsonl');
    const done = existsSync(metricsFile) ? readFileSync(metricsFile, 'utf8').split('\n').length - 1 : 0;
    const steps = 5;
    this.trainings.push(`${config.output.split('/').slice(-2)[0]} from ${done}`);
    for (let step = done + 1; step <= steps; step++) {
      signal.throwIfAborted();
      const metrics = {
        step,
        loss: 1 / step + (hash(data) % 100) / 1000,
        learningRate: 1e-4,
        gradNorm: 1,
        tokens: 50,
        trainedTokens: 20,
        tokensPerSecond: 1000,
      };
      appendFileSync(metricsFile, `${JSON.stringify(metrics)}\n`);
      onStep(metrics, steps);
      this.#tick();
      await new Promise(setImmediate);
    }
    signal.throwIfAborted();
    writeFileSync(join(config.output, 'weights'), String(hash(data)));
    return { steps, trainedTokens: data.length, seconds: 1, finalLoss: 0.2 };
  }
}

/** A sum is right in half of the cases, a compression is usable in most, a student's answer depends on its weights. */
function respond(request: TextRequest, model: string, trained: string): string {
  const prompt = request.messages.at(-1)!.content;
  const draw = hash(`${model} ${trained} ${JSON.stringify(request.messages)} ${request.sampling.seed}`);
  if (model === 'compressor') {
    const words = prompt.split('Reasoning: ')[1]!.split(' ');
    return draw % 8 === 0 ? '' : words.filter((_, index) => index % 2 === 0).join(' ');
  }
  const numbers = (prompt.match(/\d+/g) ?? []).map(Number);
  const sum = numbers.reduce((a, b) => a + b, 0) + (draw % 2);
  const reasoning = `We are given ${numbers.join(' and ')} and we add them all to get ${sum} in the end`;
  if (model === 'teacher') return `<think>${reasoning}</think>\\boxed{${sum}}`;
  return trained === ''
    ? `${reasoning}. The answer is ${sum}.`
    : `<think>\n${reasoning}\n</think>\n\nThe answer is ${sum}.`;
}

/** 40 questions to train on and 30 to evaluate, sums of two numbers. */
export function writeQuestions(folder: string): { train: string; eval: string } {
  const write = (name: string, count: number, offset: number) => {
    const rows = Array.from({ length: count }, (_, index) => {
      const [a, b] = [index + offset, 2 * index + 1];
      return JSON.stringify({
        id: `${name}-${index}`,
        question: `What is ${a} + ${b}?`,
        answer: a + b,
        answerType: 'number',
      });
    });
    const path = join(folder, `${name}.jsonl`);
    writeFileSync(path, `${rows.join('\n')}\n`);
    return path;
  };
  return { train: write('train', 40, 3), eval: write('eval', 30, 100) };
}

/** A small study on those questions, with every arm. @param changes is laid over the settings, level by level */
export function fakeStudy(folder: string, run: string, changes: Record<string, unknown> = {}) {
  const files = writeQuestions(folder);
  const settings: Record<string, unknown> = {
    run: join(folder, run),
    questions: { train: { file: files.train }, eval: { file: files.eval } },
    teacher: { model: 'teacher', attempts: 3, prompt: '{{question}}' },
    compressors: [{ name: 'short', model: 'compressor', attempts: 2, prompt: 'Shorten. Reasoning: {{reasoning}}' }],
    students: [{ name: 'small', model: 'student', training: { epochs: 2 } }],
    evaluate: { maxTokens: 64 },
  };
  const merge = (into: Record<string, unknown>, from: Record<string, unknown>) => {
    for (const [key, value] of Object.entries(from)) {
      const inside = into[key];
      const nested = typeof value === 'object' && value !== null && !Array.isArray(value);
      if (nested && typeof inside === 'object' && inside !== null) merge(inside as never, value as never);
      else into[key] = value;
    }
  };
  merge(settings, changes);
  return parseStudyConfig(settings, 'study.yaml');
}
