/** The arms of a study: for each, which questions it trains on and with which reasoning. */
import type { Question } from '../data/questions.js';
import { UserError } from '../errors.js';
import type { StudyConfig } from './config.js';
import { chat } from './messages.js';
import { fillTemplate } from './prompt_template.js';
import type { ChatMessage } from './services.js';
import type { Trace } from './traces.js';

/** Reasoning by question id; null where the arm has none (answer-only). */
export type ArmReasoning = ReadonlyMap<string, string | null>;

/** A row of training data. */
export interface TrainingRow {
  id: string;
  messages: ChatMessage[];
}

/**
 * The training rows of every arm, in the order of the traces.
 * With `matched`, the questions that are usable in all arms: arms then differ in their targets alone.
 * @throws {UserError} when nothing is left
 */
export function armRows(
  config: StudyConfig,
  traces: readonly Trace[],
  arms: ReadonlyMap<string, ArmReasoning>,
): Map<string, TrainingRow[]> {
  const everywhere = traces.filter(({ question }) => [...arms.values()].every((arm) => arm.has(question.id)));
  const rows = new Map<string, TrainingRow[]>();
  for (const [arm, reasoning] of arms) {
    const usable = config.matched ? everywhere : traces.filter(({ question }) => reasoning.has(question.id));
    if (usable.length === 0) {
      const sizes = [...arms].map(([name, of]) => `${name} ${of.size}`).join(', ');
      throw new UserError(
        `Stage 'train' has no question for arm '${arm}' (usable: ${sizes}); ${config.matched ? "set 'matched: false' or " : ''}have more traces compressed`,
      );
    }
    rows.set(
      arm,
      usable.map((trace) => trainingRow(config, trace, reasoning.get(trace.question.id)!)),
    );
  }
  return rows;
}

function trainingRow(config: StudyConfig, { question, final }: Trace, reasoning: string | null): TrainingRow {
  const { target } = config;
  const thought = reasoning === null ? '' : fillTemplate(target.reasoning, { reasoning });
  const content = thought + fillTemplate(target.answer, { answer: question.answer, response: final });
  return { id: question.id, messages: [...studentPrompt(config, question), { role: 'assistant', content }] };
}

/** What a student is asked, in training and in evaluation alike. */
export function studentPrompt({ target }: StudyConfig, question: Question): ChatMessage[] {
  return chat(target.system, target.prompt, { question: question.question });
}
