/** piscina with one thread: a batch of elements, which are cloned, is a task; as many tasks as make a window at once. */
/* oxlint-disable no-await-in-loop -- it has to wait for room */
import { Piscina } from "piscina"
import { some } from "../payloads.ts"
import type { StartThread } from "../threads.ts"

export const start: StartThread = async (payload) => {
  const pool = new Piscina<ReadonlyArray<unknown>, number>({
    filename: new URL("./piscinaWorker.ts", import.meta.url).href,
    name: payload.name,
    minThreads: 1,
    maxThreads: 1,
    // It takes the next task from the message that brought it the one before.
    concurrentTasksPerWorker: 8
  })
  await pool.run([])
  return {
    send: async ({ batch, n, window }) => {
      let digest = 0
      let elements = 0
      const running: Array<Promise<void>> = []
      const most = Math.max(1, Math.floor(window / batch))
      for (let sent = 0; sent < n; sent += batch) {
        if (running.length >= most) await running.shift()
        const next = some(payload.pool, sent, Math.min(batch, n - sent))
        running.push(
          pool.run(next).then((sum) => {
            digest += sum
            elements += next.length
          })
        )
      }
      await Promise.all(running)
      return { elements, digest }
    },
    end: () => pool.destroy()
  }
}
