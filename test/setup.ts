/** Holds every test, and every file, to leave nothing behind that it started. */
import { afterAll, afterEach, beforeAll, beforeEach, type TestContext } from "vitest"
import { assertNoneLeft, watch } from "./leaks.ts"

const none = () => Promise.resolve([])
let file: ReturnType<typeof watch> = none
const tests = new WeakMap<TestContext["task"], ReturnType<typeof watch>>()

beforeAll(() => {
  file = watch()
})

beforeEach(({ task }) => {
  // Of tests that run at once nobody can tell whose a thing is: the file answers for them.
  if (task.concurrent !== true) tests.set(task, watch())
})

// Vitest runs these last of all, thus after the hooks of a test file.
afterEach(({ task }) => assertNoneLeft(tests.get(task) ?? none, "this test"))

afterAll(() => assertNoneLeft(file, "the tests of this file"))
