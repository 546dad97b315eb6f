// How the rows of training data name things: which keys hold the messages, and what the roles are called.

import { z } from 'zod';
import type { Message } from '../text/chat_template.js';
import { splitReasoning, thinkTags } from '../text/reasoning.js';
import { parseStrict } from './strict_schema.js';

const key = z.string().min(1);

/** `dataFormat` of a training file. */
export const dataFormatSchema = z.strictObject({
  /** The key of a row that holds its messages. Default: `messages`. */
  messages: key.default('messages'),
  /** The keys of a message. Default: `role`, `content`, `reasoning_content`. */
  role: key.default('role'),
  content: key.default('content'),
  reasoning: key.default('reasoning_content'),
  /** The template's name of a role for other names of it, `{ human: user, gpt: assistant }`. Default: none. */
  roles: z.record(z.string(), z.string()).default({}),
  /** Take the first `<think>…</think>` of an assistant's content out of it, as reasoning for the template to render. Default: false. */
  splitThinking: z.boolean().default(false),
});

export type DataFormat = z.output<typeof dataFormatSchema>;

/** Rows as this project writes them. */
export const plainFormat: DataFormat = dataFormatSchema.parse({});

export interface Conversation {
  readonly id: string | null;
  readonly messages: readonly Message[];
  /** The further keys of the row. */
  readonly data: Record<string, unknown>;
}

/**
 * Reads rows of one format.
 * @returns a function that throws a {@link UserError} of one line for what is no such row
 */
export function conversationReader(format: DataFormat): (row: unknown) => Conversation {
  const schema = z.looseObject({
    id: z.union([z.string(), z.number()]).optional(),
    [format.messages]: z
      .array(
        z.looseObject({
          [format.role]: z.string(),
          [format.content]: z.string(),
          [format.reasoning]: z.string().nullish(),
        }),
      )
      .min(1),
  });
  return (row) => {
    const { id, [format.messages]: messages, ...data } = parseStrict(schema, row) as Record<string, unknown>;
    return {
      id: id === undefined ? null : String(id),
      messages: (messages as Record<string, string | null | undefined>[]).map((message) => toMessage(message, format)),
      data,
    };
  };
}

function toMessage(message: Record<string, string | null | undefined>, format: DataFormat): Message {
  const name = message[format.role]!;
  const role = Object.hasOwn(format.roles, name) ? format.roles[name]! : name;
  const content = message[format.content]!;
  const reasoning = message[format.reasoning];
  if (reasoning != null) return { role, content, reasoning_content: reasoning };
  const inline = content.includes(thinkTags.open) && content.includes(thinkTags.close);
  if (!format.splitThinking || role !== 'assistant' || !inline) return { role, content };
  const { reasoning: thought, answer } = splitReasoning(content);
  return { role, content: answer!, reasoning_content: thought! };
}
