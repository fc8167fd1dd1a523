// Drives a live Holdfast with the unmodified public client. `node scenarios.mjs <name>` runs one
// scenario and prints its findings as the last line of JSON. A line {"finish": …} asks the test to
// bring a run to its end, as a worker would, and waits for an answer on standard input; so does a
// line {"timeOut": …}, for a token, as the engine would.
import readline from "node:readline";
import {
  ApiError, AuthenticationError, BadRequestError, NotFoundError, PermissionDeniedError,
  UnprocessableEntityError, auth, batch, envvars, idempotencyKeys, metadata, queues, runs, streams, tags, tasks, wait,
} from "@trigger.dev/sdk";
import { apiClientManager, runMetadata, taskContext } from "@trigger.dev/core/v3";
import { StandardMetadataManager } from "@trigger.dev/core/v3/workers";

const project = process.env.HOLDFAST_PROJECT;
const answers = readline.createInterface({ input: process.stdin })[Symbol.asyncIterator]();

async function finish(run, how) {
  console.log(JSON.stringify({ finish: { run, ...how } }));
  await answers.next();
}

async function timeOut(token) {
  console.log(JSON.stringify({ timeOut: token }));
  await answers.next();
}

async function collect(pages, most = 1000) {
  const found = [];
  for await (const item of pages) {
    found.push(item);
    if (found.length >= most) break;
  }
  return found;
}

async function refusal(attempt) {
  try {
    await attempt();
  } catch (error) {
    const classes = {
      AuthenticationError, BadRequestError, NotFoundError, PermissionDeniedError,
      UnprocessableEntityError,
    };
    const [kind] = Object.entries(classes).find(([, cls]) => error instanceof cls) ?? ["other"];
    return { kind, isApiError: error instanceof ApiError, status: error.status, message: error.message };
  }
  return { kind: "none" };
}

const quick = { retry: { maxAttempts: 1 } };

const scenarios = {
  async trigger() {
    const when = new Date(0);
    const handle = await tasks.trigger(
      "hello-world",
      { a: 1, when, big: 12n, set: new Set([1]) },
      {
        queue: "q1", concurrencyKey: "ck", ttl: "10m", tags: ["user_1", "x:y"], maxAttempts: 2,
        metadata: { p: 1 }, maxDuration: 60, machine: "small-1x", priority: 3,
      },
    );
    const run = await runs.retrieve(handle);
    const nothing = await tasks.trigger("hello-world", undefined);
    const text = await tasks.trigger("hello-world", "plain");
    return {
      handle: { id: handle.id, taskIdentifier: handle.taskIdentifier },
      token: handle.publicAccessToken,
      run,
      createdAtIsADate: run.createdAt instanceof Date,
      startedAtIsAbsent: run.startedAt === undefined,
      nothing: (await runs.retrieve(nothing.id)).payload ?? "absent",
      text: (await runs.retrieve(text.id)).payload,
    };
  },

  async batches() {
    const many = await tasks.batchTrigger("hello-world", [
      { payload: { n: 1 } },
      { payload: { n: 2 }, options: { tags: "t" } },
    ]);
    const mixed = await batch.trigger([
      { id: "hello-world", payload: { n: 3 } },
      { id: "other", payload: "text" },
    ]);
    const shown = await batch.retrieve(many.batchId);
    const other = await batch.retrieve(mixed.batchId);
    const payloads = [];
    for (const id of [...shown.runs, ...other.runs]) payloads.push((await runs.retrieve(id)).payload);
    for (const id of shown.runs) await finish(id, { output: { ok: id } });
    const results = await apiClientManager.clientOrThrow().getBatchResults(many.batchId);
    return {
      runCount: many.runCount, status: shown.status, runs: shown.runs, payloads,
      tags: (await runs.retrieve(shown.runs[1])).tags,
      oks: results.items.map((item) => item.ok),
      finalStatus: (await batch.retrieve(many.batchId)).status,
    };
  },

  async listing() {
    const made = [];
    for (let n = 0; n < 5; n++) {
      made.push((await tasks.trigger("hello-world", { n }, { tags: [n % 2 ? "odd" : "even"] })).id);
    }
    await tasks.trigger("other", {});
    const paged = await collect(runs.list({ taskIdentifier: "hello-world", limit: 2 }));
    const filtered = await collect(
      runs.list({
        status: ["QUEUED", "PENDING_VERSION"], taskIdentifier: ["hello-world"], tag: ["odd"],
        isTest: false, from: new Date(0), queue: { type: "task", name: "hello-world" }, limit: 10,
      }),
    );
    const first = await runs.list({ limit: 2 });
    const second = await first.getNextPage();
    const back = await second.getPreviousPage();
    const person = await auth.withAuth({ accessToken: process.env.HOLDFAST_PERSON }, () =>
      collect(runs.list(project, { env: "prod", limit: 3 })),
    );
    return {
      made, paged: paged.map((run) => run.id), filtered: filtered.map((run) => run.id),
      env: paged[0].env, backEqualsFirst: JSON.stringify(back.data) === JSON.stringify(first.data),
      person: person.length,
    };
  },

  async acting() {
    const handle = await tasks.trigger("hello-world", { a: 1 }, { delay: "1h" });
    const moved = await runs.reschedule(handle.id, { delay: new Date("2031-01-01T00:00:00Z") });
    const canceled = await runs.cancel(handle.id);
    const again = await runs.cancel(handle.id);
    const polled = await runs.poll(handle.id, { pollIntervalMs: 50 });
    const replayed = await runs.replay(handle.id);
    return {
      id: handle.id, movedTo: moved.delayedUntil.toISOString(), canceled: canceled.id,
      again: again.id, polled: { status: polled.status, isCancelled: polled.isCancelled },
      replayed: replayed.id, replay: (await runs.retrieve(replayed.id)).payload,
    };
  },

  async polling() {
    const good = await tasks.trigger("hello-world", { a: 1 });
    await finish(good.id, { output: { when: "1970-01-01T00:00:00.000Z" }, dates: ["when"] });
    const done = await runs.poll(good.id, { pollIntervalMs: 50 });
    const bad = await tasks.trigger("hello-world", { a: 1 });
    await finish(bad.id, { error: { type: "BUILT_IN_ERROR", name: "ValueError", message: "no", stackTrace: "at x" } });
    const failed = await runs.poll(bad.id, { pollIntervalMs: 50 });
    const late = await tasks.trigger("hello-world", { a: 1 });
    await finish(late.id, { status: "TIMED_OUT" });
    const client = apiClientManager.clientOrThrow();
    const pending = await tasks.trigger("hello-world", { a: 1 });
    return {
      done: { status: done.status, output: done.output, isSuccess: done.isSuccess },
      failed: { status: failed.status, error: failed.error, isFailed: failed.isFailed },
      late: (await runs.poll(late.id, { pollIntervalMs: 50 })).status,
      result: await client.getRunResult(good.id),
      failure: await client.getRunResult(bad.id),
      pending: (await client.getRunResult(pending.id)) ?? "absent",
      events: (await client.listRunEvents(good.id)).events.map((event) => event.kind),
    };
  },

  async labels() {
    const handle = await tasks.trigger("hello-world", {}, { tags: ["a"], metadata: { n: 1 } });
    const client = apiClientManager.clientOrThrow();
    // As inside the task: the context names the run.
    taskContext.setGlobalTaskContext({
      ctx: { run: { id: handle.id }, task: {}, attempt: {}, environment: {}, project: {}, organization: {}, queue: {} },
      worker: {}, isWarmStart: false,
    });
    await tags.add(["b", "c"]);
    const manager = new StandardMetadataManager(client);
    manager.runId = handle.id;
    runMetadata.setGlobalManager(manager);
    metadata.increment("n", 2).append("log", "x").set("state", { at: "y" });
    await metadata.flush();
    const read = await client.getRunMetadata(handle.id);
    await client.updateRunMetadata(handle.id, { metadata: { replaced: true } });
    await metadata.refresh();
    const run = await runs.retrieve(handle.id);
    return { tags: run.tags, read: read.metadata, refreshed: metadata.current(), shown: run.metadata };
  },

  async idempotency() {
    const key = await idempotencyKeys.create("once", { scope: "global" });
    const first = await tasks.trigger("hello-world", {}, { idempotencyKey: key, idempotencyKeyTTL: "1h" });
    const second = await tasks.trigger("hello-world", {}, { idempotencyKey: key });
    const shown = (await runs.retrieve(first.id)).idempotencyKey;
    await idempotencyKeys.reset("hello-world", key);
    const third = await tasks.trigger("hello-world", {}, { idempotencyKey: key });
    return { first: first.id, second: second.id, third: third.id, cached: second.isCached, shown };
  },

  async variables() {
    await envvars.create(project, "prod", { name: "PLAIN", value: "one" });
    await envvars.upload(project, "prod", { variables: { MANY: "1", PLAIN: "two" }, override: true });
    const listed = await envvars.list(project, "prod");
    const one = await envvars.retrieve(project, "prod", "PLAIN");
    await envvars.del(project, "prod", "MANY");
    const asPerson = await auth.withAuth({ accessToken: process.env.HOLDFAST_PERSON }, () =>
      envvars.list(project, "staging"),
    );
    return {
      listed, one, asPerson, left: (await envvars.list(project, "prod")).map((item) => item.name),
      gone: await refusal(() => envvars.retrieve(project, "prod", "MANY")),
      elsewhere: await refusal(() => envvars.list(project, "staging")),
      invalid: await refusal(() => envvars.create(project, "prod", { name: "1 bad", value: "x" })),
    };
  },

  async tokens() {
    const handle = await tasks.trigger("hello-world", { a: 1 });
    const other = await tasks.trigger("hello-world", { a: 2 });
    const token = await auth.createPublicToken({ scopes: { read: { runs: [handle.id] } } });
    const asReader = (accessToken, what) => auth.withAuth({ accessToken }, what);
    const once = await auth.createTriggerPublicToken("hello-world");
    const started = await asReader(once, () => tasks.trigger("hello-world", { a: 3 }));
    const batched = await asReader(await auth.createBatchTriggerPublicToken("hello-world"), () =>
      tasks.batchTrigger("hello-world", [{ payload: { a: 4 } }]),
    );
    return {
      read: (await asReader(token, () => runs.retrieve(handle.id))).payload,
      fromHandle: (await asReader(handle.publicAccessToken, () => runs.retrieve(handle.id))).id === handle.id,
      refused: await refusal(() => asReader(token, () => runs.retrieve(other.id))),
      unfit: await refusal(() => asReader(token, () => tasks.trigger("hello-world", {}, {}, quick))),
      started: (await asReader(started.publicAccessToken, () => runs.retrieve(started.id))).payload,
      batched: (await asReader(batched.publicAccessToken, () => batch.retrieve(batched.batchId))).runCount,
      twice: await refusal(() => asReader(once, () => tasks.trigger("hello-world", {}, {}, quick))),
    };
  },

  async refusals() {
    const started = Date.now();
    const found = {
      unknown: await refusal(() => runs.retrieve("run_unknown")),
      unauthorized: await refusal(() =>
        auth.withAuth({ accessToken: "tr_prod_wrong0000000000000000000" }, () => runs.retrieve("run_x")),
      ),
      tags: await refusal(() => tasks.trigger("t", {}, { tags: Array.from({ length: 11 }, (_, n) => `${n}`) })),
      delay: await refusal(() => tasks.trigger("t", {}, { delay: "-5s" })),
      machine: await refusal(() => tasks.trigger("t", {}, { machine: "huge" })),
      debounce: await refusal(() => tasks.trigger("t", {}, { debounce: { key: "k", delay: "0s" } })),
      schema: await refusal(() => tasks.trigger("strict", { n: "not a number" })),
      reschedule: await refusal(async () => {
        const handle = await tasks.trigger("t", {});
        await runs.reschedule(handle.id, { delay: "1h" });
      }),
    };
    return { ...found, retriedNothing: Date.now() - started < 5000 };
  },

  async debouncing() {
    const debounce = { key: "k", delay: "1m", maxDelay: "1h" };
    const leading = [];
    for (const n of [1, 2]) leading.push(await tasks.trigger("hello-world", { n }, { debounce }));
    const trailing = [];
    for (const n of [3, 4]) {
      const options = { debounce: { ...debounce, key: "t", mode: "trailing" }, tags: [`n_${n}`] };
      trailing.push(await tasks.trigger("hello-world", { n }, options));
    }
    const [first, last] = [await runs.retrieve(leading[0].id), await runs.retrieve(trailing[0].id)];
    return {
      leading: leading.map((handle) => handle.id === leading[0].id),
      trailing: trailing.map((handle) => handle.id === trailing[0].id),
      first: { status: first.status, payload: first.payload, delayed: first.delayedUntil instanceof Date },
      last: { payload: last.payload, tags: last.tags },
    };
  },

  async queueing() {
    for (const concurrencyKey of ["a", "b"]) {
      await tasks.trigger("hello-world", {}, { queue: "shared", concurrencyKey });
    }
    const listed = await collect(queues.list({ perPage: 1 }));
    const own = { type: "task", name: "hello-world" };
    const shared = await queues.retrieve({ type: "custom", name: "shared" });
    const paused = await queues.pause(own);
    const resumed = await queues.resume(own);
    const overridden = await queues.overrideConcurrencyLimit(own, 7);
    const reset = await queues.resetConcurrencyLimit(own);
    return {
      names: listed.map((queue) => [queue.type, queue.name]),
      shared: { queued: shared.queued, running: shared.running, limit: shared.concurrencyLimit },
      byId: (await queues.retrieve(shared.id)).name,
      paused: [paused.paused, resumed.paused],
      overridden: {
        ...overridden.concurrency, overriddenAt: overridden.concurrency.overriddenAt instanceof Date,
      },
      reset: reset.concurrency,
      unknown: await refusal(() => queues.retrieve({ type: "custom", name: "none" })),
      high: await refusal(() => queues.overrideConcurrencyLimit(own, 100001)),
    };
  },

  async limiting() {
    const { concurrencyLimits } = await import("@trigger.dev/sdk");
    if (!concurrencyLimits) return null; // the older client has none
    const [listed] = await collect(concurrencyLimits.list());
    const overridden = await concurrencyLimits.override("shared", { perKey: 1, total: 3 });
    const ofKey = await concurrencyLimits.override("shared", { concurrencyKey: "vip", perKey: 5, ttl: "1h" });
    const view = await concurrencyLimits.retrieve("shared", { concurrencyKey: "vip" });
    const cleared = await concurrencyLimits.reset("shared", { concurrencyKey: "vip" });
    const paused = await concurrencyLimits.pause("shared");
    const resumed = await concurrencyLimits.resume("shared");
    const reset = await concurrencyLimits.reset("shared");
    return {
      listed: { name: listed.name, id: listed.id.split("_")[0], perKey: listed.perKey, total: listed.total },
      overridden: [overridden.perKey.current, overridden.total.current, overridden.total.base],
      ofKey: { ...ofKey.perKey, expiresAt: ofKey.perKey.expiresAt instanceof Date },
      view: [view.concurrencyKey, view.running, view.perKey.current],
      cleared: cleared.perKey, paused: [paused.paused, resumed.paused], reset: reset.total,
      unknown: await refusal(() => concurrencyLimits.retrieve("none")),
    };
  },

  async waitpoints() {
    const made = await wait.createToken({
      timeout: "10m", tags: ["a", "b"], idempotencyKey: "wk", idempotencyKeyTTL: "1h",
    });
    const again = await wait.createToken({ timeout: "10m", idempotencyKey: "wk" });
    const open = await wait.retrieveToken(made);
    const done = await wait.completeToken(made, { approved: true, at: new Date(0) });
    const value = await wait.retrieveToken(made);

    const byBrowser = await wait.createToken({ timeout: new Date("2031-01-01T00:00:00Z") });
    await auth.withAuth({ accessToken: byBrowser.publicAccessToken }, () =>
      wait.completeToken(byBrowser.id, "from a browser"),
    );
    const refused = await refusal(() =>
      auth.withAuth({ accessToken: byBrowser.publicAccessToken }, () => wait.completeToken(made.id, 1)),
    );

    const called = await wait.createToken({ tags: "called" });
    const answer = await fetch(called.url, {
      method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ paid: 7 }),
    });
    const forged = await fetch(called.url.slice(0, -4) + "0000", { method: "POST", body: "{}" });

    const late = await wait.createToken({ timeout: "1h" });
    await timeOut(late.id);
    const over = await wait.retrieveToken(late);
    const listed = await collect(wait.listTokens({ limit: 2 }));
    return {
      id: made.id, cached: [made.isCached, again.isCached, again.id === made.id],
      token: made.publicAccessToken.split(".").length, url: made.url,
      open: { status: open.status, tags: open.tags, key: open.idempotencyKey, timed: open.timeoutAt instanceof Date },
      done, value: { status: value.status, output: value.output, completed: value.completedAt instanceof Date },
      browser: (await wait.retrieveToken(byBrowser)).output, refused,
      answer: [answer.status, await answer.json()], forged: forged.status,
      called: (await wait.retrieveToken(called)).output,
      over: { status: over.status, output: over.output ?? "absent", error: over.error?.message, name: over.error?.name },
      listed: listed.map((token) => token.id).length,
      waiting: (await collect(wait.listTokens({ status: ["WAITING"] }))).length,
      tagged: (await collect(wait.listTokens({ tags: ["a"], status: "COMPLETED", period: "1h" }))).map((token) => token.id),
      keyed: (await collect(wait.listTokens({ idempotencyKey: "wk" }))).length,
    };
  },

  async inputs() {
    const approval = streams.input({ id: "approval" });
    const handle = await tasks.trigger("hello-world", { a: 1 });
    const other = await tasks.trigger("hello-world", { a: 2 });
    const asReader = (accessToken, what) => auth.withAuth({ accessToken }, what);

    await approval.send(handle.id, { approved: true });
    const token = await auth.createPublicToken({ scopes: { write: { inputStreams: handle.id } } });
    await asReader(token, () => approval.send(handle.id, "from a browser"));
    const refused = await refusal(() =>
      asReader(token, () => approval.send(other.id, 1, { requestOptions: quick })));

    const client = apiClientManager.clientOrThrow();
    const made = await client.createInputStreamWaitpoint(handle.id, { streamId: "approval", lastSeqNum: 0 });
    const open = await client.createInputStreamWaitpoint(handle.id, { streamId: "approval", timeout: "1h", lastSeqNum: 1 });

    const parts = [];
    const stream = await client.fetchStream(handle.id, "input/approval", {
      timeoutInSeconds: 600, onPart: (part) => parts.push([part.id, typeof part.timestamp]),
    });
    const reader = stream.getReader();
    const told = [(await reader.read()).value, (await reader.read()).value];
    await approval.send(handle.id, { late: [1] });
    told.push((await reader.read()).value);
    await reader.cancel();
    const resumed = await client.fetchStream(handle.id, "input/approval", { lastEventId: "1", timeoutInSeconds: 600 });
    const again = resumed.getReader();
    told.push((await again.read()).value);
    await finish(handle.id, { output: 1 });
    const end = (await again.read()).done;

    return {
      told, parts, end, refused,
      made: [made.isCached, open.isCached, made.waitpointId !== open.waitpointId],
      over: await refusal(() => approval.send(handle.id, 1, { requestOptions: quick })),
    };
  },

  async large() {
    const text = "x".repeat(200 * 1024);
    const handle = await tasks.trigger("hello-world", { text });
    const small = await tasks.trigger("hello-world", { text: "y".repeat(100 * 1024) });
    const run = await runs.retrieve(handle.id);
    return { id: handle.id, same: run.payload?.text === text, small: (await runs.retrieve(small.id)).payload.text.length };
  },
};

const result = await scenarios[process.argv[2]]();
console.log(JSON.stringify({ result }));
process.exit(0);
