/** The llama.cpp peer, through node-llama-cpp: every request a sequence of one context, all sequences in one batch. */
import { load, serve, versionOf } from './protocol.mjs';

let context = null;

const tasks = {
  async name() {
    const { getLlama } = await load('node-llama-cpp');
    const llama = await getLlama({ build: 'never', skipDownload: true, gpu: false, maxThreads: 0 });
    const { release } = llama.llamaCppRelease;
    await llama.dispose();
    return `llama.cpp ${release} (node-llama-cpp ${await versionOf('node-llama-cpp')})`;
  },

  async load({ path, threads, sequences, contextSize, batchSize }) {
    const { getLlama, LlamaLogLevel } = await load('node-llama-cpp');
    const llama = await getLlama({
      build: 'never',
      skipDownload: true,
      gpu: false,
      maxThreads: 0,
      logLevel: LlamaLogLevel.error,
    });
    const model = await llama.loadModel({ modelPath: path });
    context = await model.createContext({ sequences, contextSize, batchSize, threads, flashAttention: true });
    return { threads: context.currentThreads, flashAttention: context.flashAttention, weights: model.typeDescription };
  },

  async generate({ prompts, outputs }) {
    const tokens = prompts.map(() => []);
    const waiting = prompts.map((_, index) => index);
    const sequences = Array.from({ length: Math.min(context.totalSequences, prompts.length) }, () =>
      context.getSequence(),
    );
    const begin = performance.now();
    await Promise.all(
      sequences.map(async (sequence) => {
        for (let index = waiting.shift(); index !== undefined; index = waiting.shift()) {
          await sequence.clearHistory();
          for await (const token of sequence.evaluate(prompts[index], { temperature: 0, yieldEogToken: true })) {
            tokens[index].push(token);
            if (tokens[index].length === outputs[index]) break;
          }
        }
      }),
    );
    const seconds = (performance.now() - begin) / 1000;
    for (const sequence of sequences) sequence.dispose();
    const short = tokens.findIndex((generated, index) => generated.length !== outputs[index]);
    if (short >= 0)
      throw new Error(`expected ${outputs[short]} new tokens but received ${tokens[short].length}: raise contextSize`);
    return { seconds, tokens };
  },
};

await serve(tasks);
