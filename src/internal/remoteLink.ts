/**
 * One link of a remote feed: moves elements from the queue to the device, and frames both ways, until it is lost or has
 * been closed.
 *
 * A fiber reads. All else happens in the step that calls for it, and where a frame is to be sent a fiber does that, which
 * lasts until no more are: an idle link has no other fiber, no timer, and a place in the queue's line.
 */
import * as Cause from "effect/Cause"
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import type { Owner } from "../actors/RemoteFeed.ts"
import type { Taker, TakerOptions } from "../FeedQueue.ts"
import * as FeedSession from "../FeedSession.ts"
import type { DeviceFrame, DeviceLost, FeederFrame, Link } from "../RemoteDevices.ts"
import { ElementTooLarge } from "./deviceErrors.ts"
import * as Fitting from "./fitting.ts"
import * as Items from "./items.ts"
import type { Reader } from "./telling.ts"
import * as Telling from "./telling.ts"
import type { Ticking, Ticks } from "./ticks.ts"
import * as Window from "./window.ts"

/** What a link needs of its remote feed. */
export interface Session<A> {
  readonly config: FeedSession.Config<A>
  readonly device: string
  readonly owner: Owner<A>
  state(): FeedSession.State<A>
  applyUnsafe(input: FeedSession.Input<A>): void
  /** How many elements of the session the device is done with. */
  finished(): number
  /** The link is used no more. */
  unlinkUnsafe(): void
  /** As many elements as may fit into the next frame, going by the last: more are not taken only to be put back. */
  likely: number
  /** What an element of the last frame took, once there was one. */
  elementBytes: number | undefined
}

/** In so many frames goes what may be out: while one is worked on, others are on their way. */
const framesOut = 4

/** Elements that a frame may have, however little may be out. */
const fewest = 64

/** Most elements of a frame where other devices are fed too: each is served often, so that all get as much. */
const fairShare = 512

/** How long the last frames of a link may take to leave. */
const flushTime = "1 second"

/** A link in use: see the module. */
export class RemoteLink<A> implements Reader, Ticking, TakerOptions<FeedSession.Item<A>> {
  tickAt = 0
  readonly #session: Session<A>
  #link: Telling.Sender | undefined
  readonly #ticks: Ticks
  readonly #taker: Taker
  readonly #window: Window.Window
  /** To be sent, in order. */
  #frames: Array<FeederFrame> = []
  /** Taken from the queue, to be sent as soon as the link is free; and how many elements they are. */
  #gathered: Array<FeedSession.Item<A>> = []
  #gatheredCount = 0
  #context: Context.Context<never> | undefined
  #resume: ((exit: Exit.Exit<void, DeviceLost>) => void) | undefined
  #reader: Fiber.Fiber<unknown, unknown> | undefined
  #writer: Fiber.Fiber<unknown, unknown> | undefined
  #closer: Fiber.Fiber<unknown, unknown> | undefined
  /** The link is taking a frame: what it is too slow for is for others. */
  #isSending = false
  /** What is gathered is about to be sent. */
  #isSendingSoon = false
  #isClosing = false
  #isOver = false
  /** There may be something to send, or to take. */
  #isWriteDue = false
  #isPullDue = false
  #isLooking = false
  /** The next of what was taken does not fit into what was granted. */
  #isStuck = false
  /** The queue was, or is about to be, found closed and drained. */
  #mayFindEnd = false

  constructor(session: Session<A>, ticks: Ticks) {
    this.#session = session
    this.#ticks = ticks
    this.#taker = session.owner.queue.taker(this)
    this.#window = Window.make(session.finished())
  }

  /** Lasts as long as the link is used. Then it has to be ended. */
  run(link: Link): Effect.Effect<void, DeviceLost> {
    return Effect.contextWith((context: Context.Context<never>) => {
      this.#context = context
      return Effect.callback<void, DeviceLost>((resume) => this.#begin(link, resume))
    })
  }

  get #state(): FeedSession.State<A> {
    return this.#session.state()
  }

  #now(): number {
    return this.#session.owner.now()
  }

  #apply(input: FeedSession.Input<A>): void {
    this.#session.applyUnsafe(input)
  }

  #begin(link: Link, resume: (exit: Exit.Exit<void, DeviceLost>) => void): void {
    this.#link = link
    this.#resume = resume
    this.#ticks.addUnsafe(this)
    this.#apply({ _tag: "Opened", now: this.#now() })
    if (this.#isOver) return
    const sender = Telling.tellUnsafe(link, this)
    if (sender !== undefined) this.#link = sender
    else this.#reader = this.#fork(Telling.asking(link, this), (exit) => this.#over(exit))
  }

  #fork<B>(
    effect: Effect.Effect<B, DeviceLost>,
    onExit: (exit: Exit.Exit<B, DeviceLost>) => void
  ): Fiber.Fiber<B, DeviceLost> {
    const fiber = Effect.runForkWith(this.#context!)(effect)
    fiber.addObserver(onExit)
    return fiber
  }

  /** The link is used no more. */
  #over(exit: Exit.Exit<void, DeviceLost>): void {
    if (this.#isOver) return
    this.#isOver = true
    this.#resume?.(exit)
  }

  /** Ends it. An interruption is told to the device, as far as the link takes it at once. */
  end(exit: Exit.Exit<void, unknown>): Effect.Effect<void> {
    this.#isOver = true
    this.#taker.leaveUnsafe()
    this.#ticks.removeUnsafe(this)
    const fibers = [this.#reader, this.#writer, this.#closer].filter((fiber) => fiber !== undefined)
    return Effect.andThen(
      Fiber.interruptAll(fibers),
      Effect.suspend(() => {
        this.#putBackGathered()
        return Exit.isFailure(exit) && Cause.hasInterrupts(exit.cause) ? this.#lastWords() : Effect.void
      })
    ).pipe(Effect.andThen(Effect.sync(() => this.#session.unlinkUnsafe())))
  }

  #lastWords(): Effect.Effect<void> {
    this.#apply({ _tag: "Stop" })
    if (!this.#isClosing) return Effect.void
    // As far as the link takes it now: a close says the same, and a stop waits for no peer.
    return Effect.ignore(Effect.raceFirst(this.#next(), Effect.yieldNow))
  }

  // --- what its remote feed and the link call --------------------------------------------------------------------------

  pushUnsafe(frame: FeederFrame): void {
    this.#frames.push(frame)
  }

  /** Sends what is to be sent, and ends. */
  closeUnsafe(): void {
    this.#isClosing = true
  }

  /** Anything may be otherwise than it was. */
  changedUnsafe(): void {
    this.#isStuck = false
    this.#isWriteDue = true
    this.#isPullDue = true
    this.#look()
  }

  /** The queue may have elements again, after it was closed and drained. */
  wakeUnsafe(): void {
    // Not one that waits for credit: two whose elements do not fit would wake each other for ever.
    if (!this.#mayFindEnd) return
    this.#isStuck = false
    this.#isPullDue = true
    this.#look()
  }

  receivedUnsafe(frame: DeviceFrame): void {
    if (!this.#isOver) this.#guarded(() => this.#received(frame))
  }

  lostUnsafe(error: DeviceLost): void {
    this.#over(Exit.fail(error))
  }

  tickUnsafe(): void {
    this.#guarded(() => this.#apply({ _tag: "Tick", now: this.#now() }))
  }

  /** A defect in what no fiber does is the link's. */
  #guarded(task: () => void): void {
    try {
      task()
    } catch (defect) {
      this.#over(Exit.die(defect))
    }
  }

  /** Does what is due; what comes to be due meanwhile is done too, but not in the middle of it. */
  #look(): void {
    if (this.#isLooking) return
    this.#isLooking = true
    this.#guarded(() => {
      while (!this.#isOver && (this.#isWriteDue || this.#isPullDue)) {
        if (this.#isWriteDue) this.#write()
        else this.#pull()
      }
      // A peer that takes nothing more does not keep a link that is to be closed.
      if (this.#isClosing && !this.#isOver) {
        this.#closer ??= this.#fork(Effect.sleep(flushTime), (exit) => this.#over(exit))
      }
    })
    this.#isLooking = false
  }

  // --- the frames ----------------------------------------------------------------------------------------------------

  /** Sends what is to be sent, and ends once the link is to be closed. */
  #write(): void {
    this.#isWriteDue = false
    if (this.#isSending) return
    if (!this.#isClosing) this.#pushGathered()
    if (this.#frames.length > 0) {
      this.#isSending = true
      const sending = Effect.withFiber<void, DeviceLost>((fiber) => {
        this.#writer = fiber
        return this.#next()
      })
      this.#fork(sending, (exit) => this.#sent(exit))
    } else if (this.#isClosing) this.#over(Exit.void)
    else this.#isPullDue = true
  }

  /** Sends one frame after the other. */
  #next(): Effect.Effect<void, DeviceLost> {
    if (!this.#isClosing) this.#pushGathered()
    const frame = this.#frames.shift()
    return frame === undefined ? Effect.void : Effect.flatMap(this.#link!.send(frame), () => this.#next())
  }

  #sent(exit: Exit.Exit<void, DeviceLost>): void {
    this.#writer = undefined
    this.#isSending = false
    if (Exit.isFailure(exit)) return this.#over(exit)
    this.#isWriteDue = true
    this.#look()
  }

  #received(frame: DeviceFrame): void {
    const now = this.#now()
    this.#apply({ _tag: "Received", frame, now })
    if (frame._tag !== "Progress") return
    const { accepted, received = accepted } = frame.progress
    this.#window.heard(received, this.#session.finished(), now)
  }

  // --- the elements --------------------------------------------------------------------------------------------------

  /** Takes what is there as long as there is credit: it goes out in one frame once the link is free. */
  #pull(): void {
    this.#isPullDue = false
    while (!this.#isOver && this.#mayTake()) {
      if (!this.#taker.takeUnsafe()) return
      this.#taken()
    }
  }

  onTurn(): void {
    this.#guarded(() => {
      if (this.#taker.takeUnsafe()) this.#taken()
    })
    this.#isPullDue = true
    this.#look()
  }

  #mayTake(): boolean {
    const { owner } = this.#session
    this.#mayFindEnd = !this.#isStuck
    const { elements, largest } = FeedSession.credit(this.#state, this.#window.size())
    if (elements <= 0) this.#window.limited()
    const isBusy = this.#isSending || this.#frames.length > 0
    const hasNone = owner.queue.isClosedUnsafe() && owner.queue.heldUnsafe() === 0
    // When the queue is closed and drained, what is given back may still come.
    return !(isBusy || this.most() <= 0 || this.#isStuck || largest <= 0 || hasNone || !owner.canFeed())
  }

  #taken(): void {
    this.#mayFindEnd = false
    const { elementBytes } = this.#session
    // What came when the link had become busy meanwhile is its own, behind what it is taking; and what may not fit is tried
    // before others take its room in the queue.
    const { bytes } = FeedSession.credit(this.#state)
    if (this.#isSending || elementBytes === undefined || bytes < elementBytes) this.#pushGathered()
    // An idle link need not wait for company.
    else if (FeedSession.leased(this.#state) === 0) this.#isWriteDue = true
    else this.#sendSoon()
  }

  /** Within a turn of the scheduler, so that a source and this take turns until the frame is full or the source is slow. */
  #sendSoon(): void {
    if (this.#isSendingSoon) return
    this.#isSendingSoon = true
    this.#session.owner.soonUnsafe(() => {
      this.#isSendingSoon = false
      this.#isWriteDue = true
      this.#look()
    })
  }

  /** How many elements may be sent now, in however many frames, going by what those of the last one took. */
  #granted(): number {
    const state = this.#state
    const bytes = state.progress.creditBytesTo - state.sentBytes
    return Math.min(
      FeedSession.credit(state, this.#window.size()).elements,
      Math.floor(bytes / (this.#session.elementBytes ?? 1))
    )
  }

  /** How many elements may be taken now, for the next frame. */
  most(): number {
    const { elementBytes, likely, owner } = this.#session
    const state = this.#state
    const { bytes, elements } = FeedSession.credit(state, this.#window.size())
    const part = Math.max(fewest, Math.ceil((FeedSession.leased(state) + elements) / framesOut))
    const most = Math.min(likely, part, owner.isShared() ? fairShare : Infinity)
    const fit = Math.max(1, Math.floor(Math.min(bytes, Fitting.frameBytes) / (elementBytes ?? 1)))
    return Math.min(elements, most, fit) - this.#gatheredCount
  }

  /** In the step that takes, so that what goes back meanwhile goes in order. */
  onTake(items: ReadonlyArray<FeedSession.Item<A>>): void {
    let last = this.#gathered.at(-1)?.ordinal ?? -1
    let isInOrder = true
    for (const { ordinal } of items) {
      if (ordinal < last) isInOrder = false
      last = ordinal
    }
    // Most often all at once; a source of single elements brings them one by one.
    if (this.#gathered.length === 0) this.#gathered = items.slice()
    else for (const item of items) this.#gathered.push(item)
    this.#gatheredCount += Items.size(items)
    // What other remote feeds took before, and gave back unsent, may follow those behind it.
    if (!isInOrder) this.#gathered.sort((a, b) => a.ordinal - b.ordinal)
  }

  #putBackGathered(): void {
    const { owner } = this.#session
    const items = this.#gathered
    this.#gathered = []
    this.#gatheredCount = 0
    if (items.length === 0) return
    owner.putBackUnsafe(items)
    owner.changedUnsafe()
  }

  /** Sends of what was taken as much as may be sent in one frame now. What does not fit goes back. */
  #pushGathered(): void {
    if (this.#gathered.length === 0) return
    const session = this.#session
    const { owner } = session
    // A drain may have begun since it was taken.
    const { chunk, count } = owner.canFeed() ? this.#fitting() : Fitting.nothing
    const gathered = this.#gathered
    const size = this.#gatheredCount
    if (count === session.likely || (count > 0 && count < size)) session.likely = Math.min(2 * count, 1_048_576)
    const isAll = count === size
    const items = isAll ? gathered : Items.between(gathered, 0, count)
    this.#gathered = isAll ? [] : Items.between(gathered, count, size)
    this.#gatheredCount -= count
    // It must not take again at once what goes back.
    this.#isStuck = count === 0
    if (this.#isStuck) {
      this.#mayFindEnd = false
      return this.#putBackGathered()
    }
    session.elementBytes = (chunk?.byteLength ?? 1) / count
    owner.pushedUnsafe(items)
    this.#window.sent(this.#state.sent + count, owner.now())
    this.#apply({ _tag: "Push", items, chunk })
    // Not before: a take that waits may take it at once, and reckons with what is sent.
    this.#putBackGathered()
  }

  /** How many elements may be sent in one frame now, and these as the chunk that was measured. */
  #fitting(): Fitting.Fitting<A> {
    const { config, device, owner } = this.#session
    const gathered = this.#gathered
    // What was taken within the window is not put back because that became smaller.
    const { bytes, elements, largest } = FeedSession.credit(this.#state, Infinity)
    let count = Math.min(this.#gatheredCount, elements)
    // Where more may follow at once: batches of the size of what came together then lie in one frame each. Not where another
    // device might be sent what is behind before this takes the rest again, which then would be out of order, and marked.
    if (!owner.isShared() && count < this.#granted()) count = Items.wholeTo(gathered, count)
    const fitting = Fitting.of(config.codec, gathered, count, bytes)
    const { chunk, isBeyond } = fitting
    if (!isBeyond || chunk === undefined) return fitting
    const { byteLength } = chunk
    const limit = this.#state.limits.frameBytes
    if (byteLength > limit) {
      const { ordinal } = gathered[0]!
      owner.failUnsafe(new ElementTooLarge({ device, ordinal, bytes: byteLength, limit }))
    }
    return byteLength <= largest ? fitting : Fitting.nothing
  }
}
