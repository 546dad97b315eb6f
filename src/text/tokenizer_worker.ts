// The thread of a TokenizerThread: opens the model's tokenizer and template once and encodes what it is sent.
import { parentPort, workerData } from 'node:worker_threads';
import { resolveModel } from '../weights/model_files.js';
import { encodePrompt } from './prompt_encoder.js';
import type { TokenizerAnswer, TokenizerSetup, TokenizerTask } from './tokenizer_thread.js';

const { model, text } = workerData as TokenizerSetup;
const files = resolveModel(model, text).then((opened) => {
  opened.weights.close();
  return opened;
});

parentPort!.on('message', async ({ id, prompt }: TokenizerTask) => {
  let answer: TokenizerAnswer;
  try {
    answer = { id, tokens: encodePrompt(prompt, await files) };
  } catch (error) {
    answer = { id, error: error instanceof Error ? error.message : String(error) };
  }
  parentPort!.postMessage(answer);
});
