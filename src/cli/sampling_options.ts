/** Every sampling parameter as an option in kebab-case; names and meaning follow vLLM's SamplingParams. */
import { type Command, Option } from 'commander';
import type { SamplingParams } from '../engine/sampling_params.js';
import { collect, integer, integers, number, numberByToken } from './options.js';

const options: Record<keyof SamplingParams, Option> = {
  n: new Option('--n <count>', 'completions for each prompt (default: 1)').argParser(integer(1)),
  temperature: new Option('--temperature <t>', '0 is greedy (default: 1)').argParser(number),
  topP: new Option('--top-p <p>', 'keep the likeliest tokens that add up to p (default: 1)').argParser(number),
  topK: new Option('--top-k <k>', 'keep the k likeliest tokens; 0 keeps all (default: 0)').argParser(integer(-1)),
  minP: new Option('--min-p <p>', 'keep tokens at least p times as likely as the best (default: 0)').argParser(number),
  presencePenalty: new Option(
    '--presence-penalty <x>',
    'taken off the logit of a generated token (default: 0)',
  ).argParser(number),
  frequencyPenalty: new Option(
    '--frequency-penalty <x>',
    'taken off once for every time it was generated (default: 0)',
  ).argParser(number),
  repetitionPenalty: new Option(
    '--repetition-penalty <x>',
    'divides the logit of a token seen in prompt or output (default: 1)',
  ).argParser(number),
  seed: new Option(
    '--seed <seed>',
    'makes a row a function of its prompt and this number (default: from the row id)',
  ).argParser(integer(0)),
  stop: new Option('--stop <text>', 'end the completion at this text; may be given several times').argParser(collect),
  stopTokenIds: new Option('--stop-token-ids <ids>', 'end the completion at these tokens: 1,2,3').argParser(integers),
  maxTokens: new Option('--max-tokens <count>', 'longest completion (default: to the end of the context)').argParser(
    integer(1),
  ),
  minTokens: new Option('--min-tokens <count>', 'shortest completion (default: 0)').argParser(integer(0)),
  ignoreEos: new Option('--ignore-eos', 'go on after the end-of-sequence token'),
  logprobs: new Option('--logprobs <count>', 'log-probability of every token and of the count likeliest').argParser(
    integer(0),
  ),
  promptLogprobs: new Option('--prompt-logprobs', 'log-probability of every prompt token'),
  logitBias: new Option('--logit-bias <biases>', 'added to logits: TOKEN:BIAS,… or JSON').argParser(numberByToken),
  allowedTokenIds: new Option('--allowed-token-ids <ids>', 'generate these tokens only: 1,2,3').argParser(integers),
};

export const samplingNames = Object.keys(options) as (keyof SamplingParams)[];

export function addSamplingOptions(command: Command): Command {
  for (const name of samplingNames) command.addOption(options[name].helpGroup('Sampling:'));
  return command;
}

/** The sampling parameters among the values that commander parsed; what was not given is left to the engine's defaults. */
export function pickSampling(values: Record<string, unknown>): Partial<SamplingParams> {
  return Object.fromEntries(
    samplingNames.flatMap((name) => (values[name] === undefined ? [] : [[name, values[name]]])),
  );
}
