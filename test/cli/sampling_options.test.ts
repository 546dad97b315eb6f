import { Command } from 'commander';
import { expect, test } from 'vitest';
import { addSamplingOptions, pickSampling, samplingNames } from '../../src/cli/sampling_options.js';
import { SAMPLING_DEFAULTS, samplingParams } from '../../src/engine/sampling_params.js';

function parse(...args: string[]) {
  const command = addSamplingOptions(new Command())
    .exitOverride()
    .configureOutput({ writeErr: () => {} });
  return pickSampling(command.parse(args, { from: 'user' }).opts());
}

test('every sampling parameter of the engine has an option in kebab-case', () => {
  expect([...samplingNames].sort()).toEqual(Object.keys(SAMPLING_DEFAULTS).sort());
  const flags = addSamplingOptions(new Command()).options.map((option) => option.long);
  const kebab = Object.keys(SAMPLING_DEFAULTS).map(
    (name) => `--${name.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`,
  );
  expect(flags.sort()).toEqual(kebab.sort());
});

test('what is not given is left to the engine', () => {
  expect(parse()).toEqual({});
});

test('values arrive with their types, and the engine takes them', () => {
  const sampling = parse(
    ...'--n 4 --temperature 0 --top-p 0.9 --top-k -1 --min-p 0.05 --presence-penalty -1 --frequency-penalty 0.5'.split(
      ' ',
    ),
    ...'--repetition-penalty 1.1 --seed 0 --stop-token-ids 1,2 --max-tokens 20 --min-tokens 2 --ignore-eos'.split(' '),
    ...'--logprobs 3 --prompt-logprobs --logit-bias 5:-100,7:2.5 --allowed-token-ids 5,7'.split(' '),
    ...['--stop', '\n\n', '--stop', 'END'],
  );
  expect(sampling).toEqual({
    n: 4,
    temperature: 0,
    topP: 0.9,
    topK: -1,
    minP: 0.05,
    presencePenalty: -1,
    frequencyPenalty: 0.5,
    repetitionPenalty: 1.1,
    seed: 0,
    stop: ['\n\n', 'END'],
    stopTokenIds: [1, 2],
    maxTokens: 20,
    minTokens: 2,
    ignoreEos: true,
    logprobs: 3,
    promptLogprobs: true,
    logitBias: { 5: -100, 7: 2.5 },
    allowedTokenIds: [5, 7],
  });
  expect(samplingParams(sampling)).toEqual(sampling);
  expect(parse('--logit-bias', '{"5": -100}')).toEqual({ logitBias: { 5: -100 } });
});

test.each([
  [['--max-tokens', '1.5'], /--max-tokens.*Expected an integer of at least 1/],
  [['--max-tokens', ''], /Expected an integer/],
  [['--temperature', 'hot'], /--temperature.*Expected a number/],
  [['--logit-bias', '5'], /--logit-bias.*Expected a number/],
  [['--logit-bias', '{"5"'], /TOKEN:BIAS/],
  [['--stop-token-ids', '1,x'], /Expected an integer of at least 0/],
  [['--tempreature', '1'], /Did you mean --temperature/],
])('%j is refused', (args, message) => {
  expect(() => parse(...args)).toThrow(message);
});
