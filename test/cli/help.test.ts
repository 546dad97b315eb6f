import { expect, test } from 'vitest';
import { createProgram } from '../../src/cli/program.js';

const program = createProgram();
const commands = program.commands.flatMap((command) => (command.commands.length > 0 ? command.commands : [command]));

test.each(commands.map((command) => [command.name(), command] as const))(
  '%s --help describes and shows an example',
  (_, command) => {
    let text = '';
    command.configureOutput({ writeOut: (part) => (text += part) });
    command.outputHelp();
    expect(command.description()).not.toBe('');
    expect(text).toContain(
      `$ compress-distill ${command.parent === program ? '' : `${command.parent!.name()} `}${command.name()}`,
    );
    for (const option of command.options) expect(option.description, option.flags).not.toBe('');
  },
);

test('the commands that the documentation names', () => {
  const names = program.commands.map((command) => command.name());
  expect(names).toEqual(
    expect.arrayContaining(['run', 'traces', 'compress', 'truncate', 'answer-only', 'train', 'evaluate', 'report']),
  );
  expect(names).toEqual(expect.arrayContaining(['generate', 'score', 'models', 'inspect', 'merge', 'doctor']));
});
