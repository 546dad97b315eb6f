// `datasets` of Axolotl's YAML: local files of conversations, type `chat_template`.

import { chatTemplate, ignored, isOff, type Outcome, offOnly, type Rule, renamed, to } from './axolotl_outcomes.js';

/** The end of every trained turn is a target, and that of no other. */
const turnEnds: Rule = (value) =>
  value === 'turn' || value === null
    ? { ignored: "the end of each trained turn is trained, and no other's" }
    : { refused: `'${value}'; the end of each trained turn is trained, and no other's` };

const rules: Readonly<Record<string, Rule>> = {
  path: (value, dataset) => {
    if (value === 'json' && !isOff(dataset.data_files ?? null)) return { ignored: "'data_files' names them" };
    return to('data', [value]);
  },
  data_files: (value) => (isOff(value) ? { ignored: 'empty' } : to('data', Array.isArray(value) ? value : [value])),
  ds_type: (value) =>
    value === 'json' || value === null
      ? { ignored: 'JSON Lines' }
      : { refused: `'${value}'; convert it to JSON Lines` },
  type: (value) =>
    value === 'chat_template'
      ? { ignored: 'conversations, as here' }
      : { refused: `'${value}'; only chat_template: rows of messages` },
  split: ignored('a file is one split'),
  name: offOnly('name a local file'),
  revision: offOnly('name a local file'),
  trust_remote_code: ignored('no code that comes with data is run'),
  chat_template: chatTemplate,
  chat_template_jinja: renamed('chatTemplate'),
  field_messages: renamed('dataFormat.messages'),
  message_field_role: renamed('dataFormat.role'),
  message_field_content: renamed('dataFormat.content'),
  field_thinking: renamed('dataFormat.reasoning'),
  template_thinking_key: ignored('the template is given the key that it reads'),
  message_property_mappings: (value) => ({
    parts: Object.entries((value ?? {}) as Record<string, string>).map(([property, key]) => {
      const path = { role: 'role', content: 'content', reasoning_content: 'reasoning', thinking: 'reasoning' }[
        property
      ];
      const outcome: Outcome = path
        ? to(`dataFormat.${path}`, key)
        : { refused: 'only role, content and reasoning are read' };
      return [`.${property}`, outcome];
    }),
  }),
  roles: (value) => {
    const names = Object.entries((value ?? {}) as Record<string, string[]>);
    return to(
      'dataFormat.roles',
      Object.fromEntries(names.flatMap(([role, aliases]) => aliases.map((name) => [name, role]))),
    );
  },
  roles_to_train: (value) => {
    const only = Array.isArray(value) ? value.filter((role) => !['assistant', 'gpt'].includes(role)) : [];
    return only.length === 0
      ? { ignored: "the assistant's turns, as here" }
      : { refused: `${JSON.stringify(value)}; only the assistant's turns are trained` };
  },
  train_on_eos: turnEnds,
  train_on_eot: turnEnds,
  split_thinking: renamed('dataFormat.splitThinking'),
  message_field_training: offOnly(
    'every assistant turn is trained; give weights per token instead (`objective: weighted`)',
  ),
  message_field_training_detail: offOnly('give weights per token instead (`objective: weighted`)'),
  drop_system_message: offOnly('remove it from the rows'),
  shards: offOnly('cut the file'),
};

/** Axolotl's own names for roles. */
const shareGptRoles = { human: 'user', gpt: 'assistant' };

export const readDatasets: Rule = (value) => {
  if (!Array.isArray(value) || value.length === 0) return { refused: 'Expected a list of datasets' };
  return {
    parts: value.flatMap((dataset: Record<string, unknown>, index) => [
      ...Object.entries(dataset).map(([key, inner]): [string, Outcome] => [
        `[${index}].${key}`,
        Object.hasOwn(rules, key)
          ? rules[key]!(inner, dataset)
          : { refused: `not known here; known: ${Object.keys(rules).join(', ')}` },
      ]),
      ...('roles' in dataset ? [] : [[`[${index}].roles`, to('dataFormat.roles', shareGptRoles, 'as there')] as const]),
    ]),
  };
};
