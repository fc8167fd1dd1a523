// Drives schedules and bulk actions of a live Holdfast with the unmodified public client, as
// scenarios.mjs drives the rest. A line {"step": …} asks the test to do a worker's or an engine's part.
import readline from "node:readline";
import { NotFoundError, UnprocessableEntityError, runs, schedules, tasks } from "@trigger.dev/sdk";

const answers = readline.createInterface({ input: process.stdin })[Symbol.asyncIterator]();

async function step(name) {
  console.log(JSON.stringify({ step: name }));
  await answers.next();
}

async function refusal(attempt) {
  try {
    await attempt();
  } catch (error) {
    if (error instanceof NotFoundError) return "NotFoundError";
    if (error instanceof UnprocessableEntityError) return "UnprocessableEntityError";
    return `${error.constructor.name}: ${error.message}`;
  }
  return "none";
}

const scenarios = {
  async schedules() {
    const body = {
      task: "hello-world", cron: "0 9 * * 1-5", deduplicationKey: "dk1", externalId: "ext",
      timezone: "Europe/London",
    };
    const created = await schedules.create(body);
    const again = await schedules.create({ ...body, cron: "0 * * * *" });
    const updated = await schedules.update(created.id, { task: "hello-world", cron: "*/5 * * * *" });
    const stopped = await schedules.deactivate(created.id);
    const started = await schedules.activate(created.id);
    for (let n = 0; n < 3; n++) await schedules.create({ ...body, deduplicationKey: `more${n}` });
    const listed = await schedules.list({ page: 1, perPage: 3 });
    const retrieved = await schedules.retrieve(created.id);
    const { timezones } = await schedules.timezones({ excludeUtc: true });
    const refused = {
      cron: await refusal(() => schedules.create({ ...body, cron: "every day" })),
      timezone: await refusal(() => schedules.create({ ...body, timezone: "Moon/Base" })),
      task: await refusal(() => schedules.create({ ...body, task: "unheard-of" })),
      unknown: await refusal(() => schedules.retrieve("sched_00000000000000000000000000")),
    };
    await step("tick");
    const page = await runs.list({ schedule: created.id });
    const run = await runs.retrieve(page.data[0].id);
    const deleted = await schedules.del(created.id);
    return {
      created, again: again.id, updated, stopped: stopped.active, started: started.active,
      listed: { count: listed.pagination.count, pages: listed.pagination.totalPages,
                keys: listed.data.map((s) => s.deduplicationKey) },
      retrieved: retrieved.id, nextRunIsADate: started.nextRun instanceof Date,
      paris: timezones.includes("Europe/Paris"), utc: timezones.includes("UTC"),
      refused, run: { schedule: run.schedule, payload: run.payload }, deleted,
    };
  },
  async bulk() {
    const api = runs.bulk;
    if (!api) return { missing: true };
    const made = [];
    for (let n = 0; n < 3; n++) {
      made.push((await tasks.trigger("hello-world", { n }, { tags: ["old"], delay: "1h" })).id);
    }
    const canceling = await api.cancel({ filter: { tag: "old", period: "1d" }, name: "old ones" });
    await step("work");
    const done = await api.retrieve(canceling.id);
    const replaying = await api.replay({ runIds: made.slice(0, 2) });
    await step("work");
    const replays = await runs.list({ bulkAction: replaying.id });
    const aborting = await api.cancel({ filter: { status: ["QUEUED", "DELAYED"] } });
    const aborted = await api.abort(aborting.id);
    const listed = [];
    for await (const action of api.list({ limit: 2 })) listed.push(action.status);
    return {
      done, statuses: await Promise.all(made.map(async (id) => (await runs.retrieve(id)).status)),
      replays: replays.data.length, aborted: aborted.id === aborting.id, listed,
    };
  },
};

scenarios[process.argv[2]]().then(
  (result) => {
    console.log(JSON.stringify({ result }));
    process.exit(0);
  },
  (error) => {
    console.error(error);
    process.exit(1);
  },
);
