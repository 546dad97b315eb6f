/**
 * A study on the tiny random chat model. It cannot reason, so its beginning is forced to state an answer: right for two
 * thirds of the questions, never right for the others. What follows is random text up to a stop string.
 */
import { join } from 'node:path';
import { writeRows } from '../cli/command.js';
import { modelFolder } from '../support/fixtures.js';

export function tinyStudy(folder: string, run: string) {
  const questions = (split: string, count: number) =>
    writeRows(
      join(folder, `${split}.jsonl`),
      Array.from({ length: count }, (_, index) => ({
        id: `${split}-${index}`,
        question: `${split} question number ${index}?`,
        answer: index % 3 === 0 ? 8 : 7,
        answerType: 'number',
      })),
    );
  const model = modelFolder('chat');
  const stop = ['a', 'e', 'i', 'o', 'u', 's', 't', 'n'];
  return {
    run: join(folder, run),
    threads: 2,
    engine: { maxNumSeqs: 8 },
    questions: { train: { file: questions('train', 36) }, eval: { file: questions('eval', 12) } },
    teacher: {
      ...{ model, attempts: 2, prompt: '{{question}}', reasoning: 'all', continuation: 'I add. The answer is 7.\n' },
      sampling: { temperature: 1, topP: 1, maxTokens: 60, stop },
    },
    compressors: [
      { name: 'short', model, attempts: 3, prompt: '{{reasoning}}', sampling: { temperature: 1, maxTokens: 60, stop } },
    ],
    students: [
      {
        name: 'adapted',
        model,
        training: { lora: { rank: 2 }, sequenceLength: 200, gradientAccumulation: 2, epochs: 2 },
      },
      {
        name: 'whole',
        model,
        method: 'full',
        arms: ['raw', 'answer-only'],
        training: { sequenceLength: 200, learningRate: 1e-3 },
      },
    ],
    evaluate: { maxTokens: 40 },
  };
}
