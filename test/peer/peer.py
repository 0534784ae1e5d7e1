"""A peer of effect-feeder, written from docs/protocol.md alone. Python 3.9 or newer, and its standard library.

    python3 peer.py device '<settings as JSON>'
    python3 peer.py feeder '<settings as JSON>'

It prints one line of JSON for each thing that happens. What the other side must not do ends it with a `Broken` line.
"""

import json
import random
import selectors
import socket
import struct
import sys
import time

from columns import Broken, align, decode_columns, encode_columns, fingerprint, require

VERSIONS = (1, 2)
SAFE = 2**53 - 1
LIMIT_DEVICE_CONTROL = 8_388_608
LIMIT_FEEDER_CONTROL = 1_048_576
FRAME_BYTES = 1 << 26


class Lost(Exception):
    """The link is lost."""


def say(tag, **facts):
    print(json.dumps({"_tag": tag, **facts}, ensure_ascii=False), flush=True)


def number(frame, field, least=0):
    value = frame.get(field)
    good = isinstance(value, int) and not isinstance(value, bool) and least <= value <= SAFE
    require(good, field, f"it is {value!r}")
    return value


# --- frames -----------------------------------------------------------------------------------------------------------


def control(frame):
    body = json.dumps(frame, ensure_ascii=False, separators=(",", ":")).encode("utf-8")
    return struct.pack("<IBxxx", len(body), 0) + body


def runs_of(items):
    runs = []
    for item in items:
        last = runs[-1] if runs else None
        if last and item["ordinal"] == last[0] + last[1] and item["attempt"] == last[2]:
            last[1] += 1
        else:
            runs.append([item["ordinal"], 1, item["attempt"]])
    return runs


def batch(first, heard, element_bytes, items, columns, with_ids):
    runs = runs_of(items)
    body = struct.pack("<ddII", first, heard, element_bytes, len(runs))
    for run in runs:
        body += struct.pack("<dII", *run)
    if with_ids:
        texts = [item["id"].encode("utf-8") for item in items]
        ends, end = [], 0
        for text in texts:
            end += len(text)
            ends.append(end)
        ids = struct.pack(f"<I{len(ends)}I", end, *ends) + b"".join(texts)
        body += ids + bytes(align(len(ids)) - len(ids))
    body += encode_columns(columns, [item["element"] for item in items])
    return struct.pack("<IBxxx", len(body), 2 if with_ids else 1) + body


def whole(value, field, least=0):
    good = value == value and value in range(least, SAFE + 1) and not (value == 0 and str(value)[0] == "-")
    require(good, field, f"it is {value}")
    return int(value)


def decode_batch(kind, body, columns):
    require(len(body) >= 24, "length", "a batch is shorter than its header")
    first, heard, element_bytes, count = struct.unpack_from("<ddII", body)
    first, heard = whole(first, "first", 1), whole(heard, "heard")
    require(1 <= count <= (len(body) - 24) // 16, "runs", f"{count} runs")
    items = []
    at = 24
    for i in range(count):
        ordinal, n, attempt = struct.unpack_from("<dII", body, at)
        at += 16
        ordinal = whole(ordinal, f"runs[{i}].ordinal")
        require(n >= 1 and attempt >= 1, f"runs[{i}]", "a count or an attempt of 0")
        require(len(items) + n <= len(body), f"runs[{i}].count", f"{n} elements")
        items += [{"ordinal": ordinal + k, "attempt": attempt, "id": None} for k in range(n)]
    if kind == 2:
        n = len(items)
        require(len(body) >= at + 4 + 4 * n, "ids", "they are shorter than their table")
        length, *ends = struct.unpack_from(f"<I{n}I", body, at)
        text_at = at + 4 + 4 * n
        at += align(4 + 4 * n + length)
        require(at <= len(body) and ends[-1] == length, "ids", "they do not fit")
        require(not any(body[text_at + length:at]), "ids", "padding")
        start = 0
        for item, end in zip(items, ends):
            require(start <= end <= length and end - start <= 4096, "ids", f"one ends at {end}")
            item["id"] = body[text_at + start:text_at + end].decode("utf-8")
            start = end
    payload = body[at:]
    elements = decode_columns(columns, payload)
    require(len(elements) == len(items), "columns", f"{len(elements)} elements, the runs count {len(items)}")
    for item, element in zip(items, elements):
        item["element"] = element
    return first, heard, element_bytes, items, len(payload)


class Link:
    """Frames on a connection. Reading waits no longer than it is told to."""

    def __init__(self, sock, most):
        self.sock = sock
        self.most = most
        self.data = bytearray()
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.settimeout(5)

    def send(self, data):
        try:
            self.sock.sendall(data)
        except OSError as error:
            raise Lost(str(error)) from error

    def receive(self, seconds):
        """The next frame as (kind, body), or None when none comes in time."""
        until = time.monotonic() + seconds
        while True:
            if len(self.data) >= 8:
                length, kind = struct.unpack_from("<IB", self.data)
                require(kind <= 2 and not any(self.data[5:8]), "kind", f"it is {kind}")
                require(length <= (self.most if kind == 0 else FRAME_BYTES + 1_048_576), "length", f"it is {length}")
                if len(self.data) >= 8 + length:
                    body = bytes(self.data[8:8 + length])
                    del self.data[:8 + length]
                    return kind, body
            self.sock.settimeout(max(0.001, until - time.monotonic()))
            try:
                some = self.sock.recv(65_536)
            except socket.timeout:
                if time.monotonic() >= until:
                    return None
                continue
            except OSError as error:
                raise Lost(str(error)) from error
            finally:
                self.sock.settimeout(5)
            if some == b"":
                raise Lost("it was closed")
            self.data += some

    def close(self):
        self.sock.close()

    def cut(self):
        """Breaks the connection as a network does: what is on the way is lost."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


def read_control(body):
    frame = json.loads(body.decode("utf-8"))
    require(isinstance(frame, dict) and isinstance(frame.get("_tag"), str), "_tag", "there is none")
    return frame


# --- a device ---------------------------------------------------------------------------------------------------------


class Session:
    def __init__(self, hello, known):
        self.incarnation = hello["incarnation"]
        self.session = hello["session"]
        self.processed = hello["acknowledge"] == "processed"
        self.lease = hello["leaseMillis"] / 1000
        self.accepted = self.delivered = self.settled = self.carried = 0
        self.accepted_bytes = self.delivered_bytes = 0
        self.credit_to = self.credit_bytes_to = 0
        self.above = {}  # sequence -> [result, the first report that told of it]
        self.queue = []
        self.hands = []
        self.report = known.report if known else 0
        self.fenced = known.fenced if known else 0
        self.sent = {}  # report -> when it was sent
        self.lease_until = 0
        self.last = None
        self.next = 1

    def settle_up(self, heard):
        while self.settled + 1 in self.above:
            result, told = self.above[self.settled + 1]
            if result["_tag"] != "Done" and (told == 0 or told > heard):
                return
            self.settled += 1
            del self.above[self.settled]

    def settled_count(self):
        return self.settled + len(self.above)

    def ended(self):
        done = self.settled_count() if self.processed else self.accepted
        return self.last is not None and done >= self.last


class Device:
    """Settings: port, device, feed, columns, acknowledge, versions, capacity, windowBytes, cutAt (elements accepted in
    all at which it cuts the link), retryEvery, rejectEvery, feeders."""

    def __init__(self, settings):
        self.settings = settings
        self.id = f"python-{random.getrandbits(48):x}"
        self.columns = settings["columns"]
        self.versions = settings.get("versions", VERSIONS)
        self.capacity = settings.get("capacity", 8)
        self.window = settings.get("windowBytes", 1 << 20)
        self.cut_at = list(settings.get("cutAt", []))
        self.total = 0
        self.sessions = {}

    def run(self):
        listener = socket.create_server(("127.0.0.1", self.settings["port"]))
        say("Up", device=self.id)
        ended = 0
        while ended < self.settings.get("feeders", 1):
            sock, _ = listener.accept()
            link = Link(sock, LIMIT_FEEDER_CONTROL)
            try:
                if self.serve(link):
                    ended += 1
            except Lost as lost:
                say("Lost", why=str(lost))
            except Broken as broken:
                say("Broken", why=str(broken))
                link.send(control({"_tag": "Refused", "reason": "invalid", "detail": str(broken), "retry": False}))
            finally:
                link.close()
        listener.close()
        say("Ended")

    def refuse(self, link, reason, detail):
        say("Refuses", reason=reason)
        link.send(control({"_tag": "Refused", "reason": reason, "detail": detail, "retry": False}))

    def serve(self, link):
        """One link. Whether its feeder has ended and said Bye."""
        received = link.receive(10)
        if received is None:
            return False
        kind, body = received
        require(kind == 0, "kind", "a batch before the Hello")
        hello = read_control(body)
        require(hello["_tag"] == "Hello", "_tag", "a link begins with Hello")
        oldest, newest = hello["versions"]
        version = min(newest, self.versions[1])
        if version < max(oldest, self.versions[0]):
            self.refuse(link, "version", f"it speaks {oldest} to {newest}, this device {self.versions}")
            return False
        if hello["feed"] != self.settings["feed"]:
            self.refuse(link, "unknown feed", hello["feed"])
            return False
        if hello["fingerprint"] != fingerprint(self.columns) or hello["acknowledge"] != self.settings["acknowledge"]:
            self.refuse(link, "different feed", f"{hello['fingerprint']} is not {fingerprint(self.columns)}")
            return False
        require(number(hello, "leaseMillis", 1) and number(hello, "session", 1), "Hello", "")
        key = (hello["feed"], hello["feeder"], hello["device"])
        known = self.sessions.get(key)
        session = known
        if known is None or hello["incarnation"] > known.incarnation:
            session = Session(hello, known)
        elif hello["incarnation"] < known.incarnation:
            self.refuse(link, "older feeder", f"#{hello['incarnation']} and #{known.incarnation}")
            return False
        elif hello["session"] < known.session:
            self.refuse(link, "older session", f"{hello['session']} is over")
            return False
        elif hello["session"] > known.session:
            session = Session(hello, known)
            kept = min(hello["keepTo"], known.accepted)
            session.queue = [held for held in known.queue if held["sequence"] <= kept]
            session.carried = len(session.queue)
            for held in session.queue:
                held["sequence"] = 0
        self.sessions[key] = session
        session.next = session.accepted + 1
        say("Welcomes", feeder=hello["feeder"], version=version, session=session.session, accepted=session.accepted)
        link.send(control({
            "_tag": "Welcome", "version": version, "device": self.id, "durable": False, "capacity": self.capacity,
            "limits": {"frameBytes": FRAME_BYTES, "elements": 1 << 20}, "progress": self.progress(session),
        }))
        silence_at = time.monotonic() + 3 * session.lease
        while True:
            received = link.receive(0.002 if session.queue or session.hands else 0.05)
            if received is None:
                require(time.monotonic() < silence_at, "silence", "nothing came for three leases")
                if not self.work(session):
                    say("Lapsed", accepted=session.accepted)
                    return False
                self.tell(link, session)
                continue
            silence_at = time.monotonic() + 3 * session.lease
            kind, body = received
            if kind > 0:
                require(kind == 1 or version >= 2, "kind", f"kind {kind} in version {version}")
                self.take(session, kind, body)
                if self.cut_at and self.total >= self.cut_at[0]:
                    self.cut_at.pop(0)
                    say("Cuts", accepted=session.accepted)
                    link.cut()
                    return False
            else:
                frame = read_control(body)
                tag = frame["_tag"]
                require(tag in ("Ping", "Flush", "End", "Bye"), "_tag", f"it is {tag}")
                if tag == "Bye":
                    # What was accepted for good is handed out, also when nobody is left to be told.
                    while session.ended() and not session.processed and session.queue:
                        self.work(session)
                    return session.ended()
                self.hear(session, number(frame, "heard"))
                if tag in ("Flush", "End"):
                    require(number(frame, "last") == session.next - 1, "last", f"it is {frame['last']}")
                if tag == "End":
                    session.last = frame["last"]
            self.tell(link, session)

    def take(self, session, kind, body):
        first, heard, element_bytes, items, size = decode_batch(kind, body, self.columns)
        self.hear(session, heard)
        last = first + len(items) - 1
        require(first == session.next, "first", f"it is {first}, expected {session.next}")
        require(last <= session.credit_to, "first", f"{last} is beyond the credit of {session.credit_to}")
        session.next = last + 1
        fresh = items[session.accepted - first + 1:]
        session.accepted_bytes += element_bytes * len(fresh)
        is_alone = len(fresh) == 1 and session.accepted == session.delivered
        within = session.accepted_bytes <= session.credit_bytes_to
        require(within or is_alone, "elementBytes", f"{session.accepted_bytes} of {session.credit_bytes_to}")
        require(size <= 4 * element_bytes * len(items) + 4 * 2**20, "elementBytes", f"{size} bytes")
        for item in fresh:
            session.accepted += 1
            self.total += 1
            session.queue.append({**item, "sequence": session.accepted, "bytes": element_bytes})
        say("Accepted", accepted=session.accepted, queued=len(session.queue), kind=kind)

    def hear(self, session, heard):
        require(heard <= session.report, "heard", f"it is {heard} of {session.report}")
        for report in [report for report in session.sent if report <= heard]:
            session.lease_until = max(session.lease_until, session.sent.pop(report) + session.lease)
        session.settle_up(heard)

    def work(self, session):
        """Settles what is in hand, the last first, then hands out some more. False when the lease has run out."""
        for held in reversed(session.hands):
            result = {"_tag": "Done"}
            retry, reject = self.settings.get("retryEvery", 0), self.settings.get("rejectEvery", 0)
            if retry and held["ordinal"] % retry == 1 and held["attempt"] == 1:
                result = {"_tag": "Retry", "afterMillis": held["ordinal"] % 3, "cause": "bïtte nochmal"}
            elif reject and held["ordinal"] % reject == 2:
                result = {"_tag": "Reject", "cause": f"no {held['ordinal']}"}
            if session.processed:
                session.above[held["sequence"]] = [result, 0]
            say("Settled", ordinal=held["ordinal"], result=result["_tag"])
        session.hands = []
        session.settle_up(0)
        for _ in range(min(3, len(session.queue))):
            if session.processed and time.monotonic() >= session.lease_until:
                session.queue = []
                session.accepted, session.accepted_bytes = session.delivered, session.delivered_bytes
                return False
            held = session.queue.pop(0)
            if held["sequence"] == 0:
                session.carried -= 1
            else:
                session.delivered = held["sequence"]
                session.delivered_bytes += held["bytes"]
            say("Handed", ordinal=held["ordinal"], attempt=held["attempt"], id=held["id"], element=held["element"])
            session.hands.append(held)
        return True

    def progress(self, session):
        session.report += 1
        session.sent[session.report] = time.monotonic()
        room = session.delivered + self.capacity - session.carried
        if session.processed:
            room = min(room, session.settled_count() + 2 * self.capacity)
        session.credit_to = max(session.credit_to, room)
        session.credit_bytes_to = max(session.credit_bytes_to, session.delivered_bytes + self.window)
        above = []
        for sequence in sorted(session.above):
            entry = session.above[sequence]
            entry[1] = entry[1] or session.report
            if above and above[-1]["from"] + above[-1]["count"] == sequence and above[-1]["result"] == entry[0]:
                above[-1]["count"] += 1
            else:
                above.append({"from": sequence, "count": 1, "result": entry[0]})
        return {
            "report": session.report, "accepted": session.accepted, "delivered": session.delivered,
            "carried": session.carried, "settled": session.settled if session.processed else 0, "above": above,
            "creditTo": session.credit_to, "creditBytesTo": session.credit_bytes_to, "ended": session.ended(),
            "zone": "a field that nobody knows",
        }

    def tell(self, link, session):
        link.send(control({"_tag": "Progress", "progress": self.progress(session)}))


# --- a feeder ---------------------------------------------------------------------------------------------------------


class Feeder:
    """Settings: port, device, feed, columns, acknowledge, versions, count, elements, ids, feeder, incarnation,
    leaseMillis, cutAt (elements sent in all at which it cuts the link), batch (most elements of one)."""

    def __init__(self, settings):
        self.settings = settings
        self.columns = settings["columns"]
        self.processed = settings["acknowledge"] == "processed"
        self.versions = settings.get("versions", VERSIONS)
        self.lease = settings.get("leaseMillis", 2000) / 1000
        self.cut_at = list(settings.get("cutAt", []))
        self.queue = []
        self.generated = self.total = self.delivered = self.redelivered = self.rejected = self.retried = 0
        self.session = 1
        self.keep_to = 0
        self.welcomed = False
        self.begin()

    def begin(self):
        """A session that has sent nothing."""
        self.out = {}  # sequence -> item that is not acknowledged
        self.kept = {}  # sequence -> item that may have to be sent again
        self.sent = self.sent_bytes = self.settled = 0
        self.progress = {"report": 0, "accepted": 0, "delivered": 0, "settled": 0, "creditTo": 0, "creditBytesTo": 0}

    def element(self, i):
        if "elements" in self.settings:
            return self.settings["elements"][i]
        return {"id": i, "label": f"n{i} ✗", "ratio": i / 4, "pixel": [i % 256, 1, 2]}

    def more(self):
        while len(self.queue) < 64 and self.generated < self.settings["count"]:
            i = self.generated
            self.queue.append({"ordinal": i, "attempt": 1, "element": self.element(i), "id": f"id-{i}é"})
            self.generated += 1

    def run(self):
        heard_at = None
        while True:
            try:
                sock = socket.create_connection(("127.0.0.1", self.settings["port"]), 5)
            except OSError:
                time.sleep(0.05)
                continue
            link = Link(sock, LIMIT_DEVICE_CONTROL)
            try:
                if self.use(link):
                    say("Fed", generated=self.generated, delivered=self.delivered, redelivered=self.redelivered,
                        rejected=self.rejected, retried=self.retried)
                    return
            except Lost as lost:
                say("Lost", why=str(lost))
            finally:
                link.close()

    def use(self, link):
        """One link. Whether the feed has ended."""
        hello = {
            "_tag": "Hello", "versions": self.versions, "feed": self.settings["feed"],
            "fingerprint": fingerprint(self.columns), "feeder": self.settings["feeder"],
            "incarnation": self.settings["incarnation"], "device": self.settings["device"], "session": self.session,
            "keepTo": self.keep_to, "acknowledge": self.settings["acknowledge"],
            "leaseMillis": round(self.lease * 1000), "trace": {"a": "field that nobody knows"},
        }
        link.send(control(hello))
        received = link.receive(5)
        if received is None:
            raise Lost("no answer")
        frame = self.read(received)
        if frame["_tag"] == "Refused":
            say("Refused", reason=frame["reason"], detail=frame["detail"], retry=frame["retry"])
            if not frame["retry"]:
                sys.exit(1)
            return False
        require(frame["_tag"] == "Welcome", "_tag", "expected a Welcome")
        version = number(frame, "version", self.versions[0])
        require(version <= self.versions[1], "version", f"it is {version}")
        say("Welcomed", version=version, session=self.session, accepted=frame["progress"]["accepted"])
        self.welcomed = True
        self.limits = frame["limits"]
        self.absorb(frame["progress"])
        self.resend(link, version)
        heard_at = pinged_at = time.monotonic()
        is_ending = False
        while True:
            self.more()
            if not is_ending:
                self.push(link, version)
            if self.cut_at and self.total >= self.cut_at[0]:
                self.cut_at.pop(0)
                say("Cuts", sent=self.sent)
                link.cut()
                return False
            if self.generated == self.settings["count"] and not self.queue and not self.out and not is_ending:
                is_ending = True
                link.send(control({"_tag": "End", "last": self.sent, "heard": self.progress["report"]}))
            received = link.receive(0.01)
            now = time.monotonic()
            if now - pinged_at > self.lease / 4:
                pinged_at = now
                link.send(control({"_tag": "Ping", "heard": self.progress["report"]}))
            if received is None:
                if now - heard_at > 1.1 * self.lease:
                    raise Lost("it was silent for longer than its lease")
                continue
            heard_at = now
            frame = self.read(received)
            if frame["_tag"] == "Progress":
                self.absorb(frame["progress"])
                if is_ending and frame["progress"]["ended"]:
                    link.send(control({"_tag": "Bye"}))
                    return True
            elif frame["_tag"] == "Refused":
                say("Refused", reason=frame["reason"], detail=frame["detail"], retry=frame["retry"])
                sys.exit(1)

    def read(self, received):
        kind, body = received
        require(kind == 0, "kind", f"a device sent kind {kind}")
        return read_control(body)

    def frame(self, first, items, element_bytes, version):
        with_ids = version >= 2 and self.settings.get("ids", False)
        return batch(first, self.progress["report"], element_bytes, items, self.columns, with_ids)

    def resend(self, link, version):
        sequences = [sequence for sequence in range(self.progress["accepted"] + 1, self.sent + 1)]
        most = self.settings.get("batch", 16)
        for i in range(0, len(sequences), most):
            some = sequences[i:i + most]
            items = [self.kept[sequence] for sequence in some]
            say("Resends", first=some[0], count=len(some))
            link.send(self.frame(some[0], items, max(item["bytes"] for item in items), version))

    def push(self, link, version):
        count = min(self.settings.get("batch", 16), self.progress["creditTo"] - self.sent, len(self.queue),
                    self.limits["elements"])
        while count > 0:
            items = self.queue[:count]
            size = len(encode_columns(self.columns, [item["element"] for item in items]))
            element_bytes = -(-size // count)
            within = self.sent_bytes + element_bytes * count <= self.progress["creditBytesTo"]
            alone = count == 1 and self.sent == self.progress["delivered"] and size <= self.limits["frameBytes"]
            if within or alone:
                break
            count -= 1
        if count <= 0:
            return
        del self.queue[:count]
        first = self.sent + 1
        for i, item in enumerate(items):
            item["bytes"] = element_bytes
            self.out[first + i] = item
            self.kept[first + i] = item
        self.sent += count
        self.sent_bytes += element_bytes * count
        self.total += count
        link.send(self.frame(first, items, element_bytes, version))

    def absorb(self, progress):
        if number(progress, "report") <= self.progress["report"]:
            return
        for field, most in (("accepted", self.sent), ("delivered", progress["accepted"]),
                            ("settled", progress["delivered"])):
            require(number(progress, field) <= most, field, f"it is {progress[field]} of {most}")
        require(progress["creditTo"] >= self.progress["creditTo"], "creditTo", "credit was taken back")
        self.progress = progress
        for sequence in list(self.kept):
            if sequence <= progress["settled"] if self.processed else sequence <= progress["accepted"]:
                del self.kept[sequence]
        if not self.processed:
            for sequence in [sequence for sequence in self.out if sequence <= progress["accepted"]]:
                self.done(self.out.pop(sequence))
            return
        last = progress["settled"]
        results = {}
        for entry in progress["above"]:
            require(entry["from"] > last and entry["count"] >= 1, "above", f"{entry} after {last}")
            last = entry["from"] + entry["count"] - 1
            require(last <= progress["accepted"], "above", f"{last} was not accepted")
            for sequence in range(entry["from"], last + 1):
                results[sequence] = entry["result"]
        for sequence in sorted(self.out):
            if sequence > progress["settled"] and sequence not in results:
                continue
            item = self.out.pop(sequence)
            result = results.get(sequence, {"_tag": "Done"})
            if result["_tag"] == "Retry":
                self.retried += 1
                self.queue.insert(0, {**item, "attempt": item["attempt"] + 1})
            elif result["_tag"] == "Reject":
                self.rejected += 1
            else:
                self.done(item)

    def done(self, item):
        self.delivered += 1
        if item["attempt"] > 1:
            self.redelivered += 1


if __name__ == "__main__":
    role = {"device": Device, "feeder": Feeder}[sys.argv[1]]
    try:
        role(json.loads(sys.argv[2])).run()
    except Broken as broken:
        say("Broken", why=str(broken))
        sys.exit(2)
