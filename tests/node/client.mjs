// The openai package pointed at the server under test, and what most tests send. The environment says where it is:
// OPENAI_BASE_URL and OPENAI_API_KEY, which the package reads itself, CHAT_MODEL and EMBEDDING_MODEL.
import OpenAI from "openai";

export const CHAT = process.env.CHAT_MODEL;
export const EMBEDDING = process.env.EMBEDDING_MODEL;

export const client = new OpenAI({ maxRetries: 0, timeout: 60_000 });

/** The body of a chat of one message; greedy and short unless `fields` say otherwise. */
export function said(content, fields = {}) {
  return { model: CHAT, messages: [{ role: "user", content }], temperature: 0, max_tokens: 12, ...fields };
}

/** The first true value of `condition`; fails when there is none within 5 s. */
export async function until(condition) {
  for (const deadline = Date.now() + 5_000; Date.now() < deadline; ) {
    const value = await condition();
    if (value) return value;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  throw new Error("did not happen within 5 s: " + condition);
}

/** A page of the server outside /v1, as JSON. */
export async function page(path) {
  const answer = await fetch(new URL(path, client.baseURL));
  return answer.json();
}
