// The thread of a TokenizerThread: opens the model's tokenizer once and encodes what it is sent.
import { parentPort, workerData } from 'node:worker_threads';
import { resolveModel } from '../weights/model_files.js';
import type { TokenizerAnswer, TokenizerTask } from './tokenizer_thread.js';

const tokenizer = resolveModel(workerData as string).then(({ tokenizer, weights }) => {
  weights.close();
  return tokenizer!;
});

parentPort!.on('message', async ({ id, text, addSpecialTokens }: TokenizerTask) => {
  let answer: TokenizerAnswer;
  try {
    answer = { id, tokens: (await tokenizer).encode(text, { addSpecialTokens }) };
  } catch (error) {
    answer = { id, error: error instanceof Error ? error.message : String(error) };
  }
  parentPort!.postMessage(answer);
});
