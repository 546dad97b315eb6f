import type { Command } from 'commander';
import { addRequiredOption, type GlobalOptions } from './options.js';

const examples = `
The products are made in f32 and rounded once. A base in fp8 or mxfp4 is written as plain numbers. --dtype says what is written; without it, what the base's config.json says.
What comes out is a whole model with its tokenizer, which transformers and vLLM load as it is.

Example:
  $ compress-distill merge --model smollm2-135m-instruct --adapter runs/my-student --out models/my-student`;

interface Options extends GlobalOptions {
  model: string;
  adapter: string;
  out: string;
}

export function addMerge(program: Command): void {
  const command = program
    .command('merge')
    .summary('add a LoRA adapter into its base model')
    .description('Writes a full model: the base with the adapter added into its weights.')
    .addHelpText('after', examples)
    .action((_, self: Command) => merge(self.optsWithGlobals()));
  addRequiredOption(command, '--model <model>', 'the base that the adapter was trained on');
  addRequiredOption(command, '--adapter <folder>', "the adapter, in PEFT's layout");
  addRequiredOption(command, '--out <folder>', 'the folder to write');
}

async function merge({ model, adapter, out, dtype, threads }: Options): Promise<void> {
  const { mergeAdapter } = await import('../training/merge.js');
  const { layers, dequantised } = await mergeAdapter({ model, adapter, output: out, dtype, threads });
  const plain =
    dequantised === null ? '' : `; the base's weights in ${dequantised.split(' ')[0]} are written as plain numbers`;
  console.log(`${out}: ${layers} layers merged${plain}`);
}
