"""`alhena replay --check`: read a file of events, send nothing, and tell all there is to know."""

from __future__ import annotations

from contextlib import ExitStack, aclosing, closing
from pathlib import Path

from alhena_async.cli._console import Screen, Snapshot
from alhena_async.cli._format import count, plural
from alhena_async.cli._input import Batch, InputBrokenError, Reader
from alhena_async.cli._lines import DERIVED, Reading, Record
from alhena_async.cli._options import CommandError, identified
from alhena_async.cli._rejects import NoRejectsFileError, RejectsFile
from alhena_async.cli._summary import counted, facts, in_money, spaced, sums
from alhena_async.cli._tally import Allowance, OrderIds, Tally
from alhena_async.events import CheckoutEvent


class Check:
    """One look at a file.

    Args:
        file: A path, or `-` for standard input.
        reading: How lines are read.
        allowance: How many lines may be no events.
        rejects: Where to write those; None writes no file.
        screen: Where all is told.
    """

    def __init__(
        self,
        file: str,
        reading: Reading,
        *,
        allowance: Allowance,
        rejects: Path | None,
        screen: Screen,
    ) -> None:
        self._file = file
        self._reading = reading
        self._allowance = allowance
        self._rejects = rejects
        self._screen = screen
        self._tally = Tally()
        self._carts = 0
        self._without_id = 0
        self._repeats = 0
        self._order_ids = OrderIds()
        self._problem = ""

    async def run(self) -> int:
        """Look; return the exit status.

        Raises:
            CommandError: The file cannot be read, or the rejects not written.
        """
        with ExitStack() as stack:
            reader = stack.enter_context(closing(Reader(self._file, self._reading)))
            await identified(reader, self._file)
            rejects = self._open_rejects(stack)
            try:
                async with (
                    self._screen.following(lambda: self._look(reader)),
                    aclosing(reader.batches()) as batches,
                ):
                    async for batch in batches:
                        self._take(batch, rejects)
            except (InputBrokenError, OSError) as error:
                self._problem = f"{type(error).__name__}: {error}"
        return self._conclude()

    def _open_rejects(self, stack: ExitStack) -> RejectsFile | None:
        if self._rejects is None:
            return None
        try:
            return stack.enter_context(RejectsFile(self._rejects))
        except NoRejectsFileError as error:
            raise CommandError(str(error)) from None
        except OSError as error:
            raise CommandError(f"cannot write {self._rejects}: {error.strerror}") from None

    def _take(self, batch: Batch, rejects: RejectsFile | None) -> None:
        for item in batch.items:
            if isinstance(item, Record):
                self._take_record(item)
                continue
            self._tally.take_reject(item)
            self._screen.say(f"line {count(item.number)}: {item.reason}")
            if rejects is not None:
                rejects.write(item)
        self._tally.take_batch(batch)

    def _take_record(self, record: Record) -> None:
        self._tally.take_record(record)
        if not isinstance(record.event, CheckoutEvent):
            self._carts += 1
        elif record.event.order_id is None:
            self._without_id += 1
        else:
            self._repeats += not self._order_ids.add(record.event.order_id)

    def _look(self, reader: Reader) -> Snapshot:
        tally = self._tally
        return Snapshot(done=tally.blank + tally.rejected + tally.accepted, total=reader.total)

    def _conclude(self) -> int:
        tally = self._tally
        orders = tally.accepted - self._carts
        kinds = f"{plural(orders, 'order')}, {plural(self._carts, 'cart event')}"
        rows = [
            ("Lines", count(tally.upto), f"{count(tally.blank)} blank" if tally.blank else ""),
            ("Events", count(tally.accepted), kinds),
            ("Rejected", count(tally.rejected), ""),
        ]
        columns = {"In the file": tally.offered.sums, "Rejected": tally.missing.sums}
        causes = counted("No event because", "Lines", tally.causes)
        self._screen.show(*spaced([facts(rows), *causes, *sums(columns)]))
        self._screen.say("")
        for remark in self._remarks():
            self._screen.say(remark, "yellow")
        if self._problem:
            told = f"It stopped after line {count(tally.upto)}: {self._problem}"
            self._screen.say(told, "bold red")
        lines = tally.accepted + tally.rejected
        is_good = (
            bool(tally.accepted)
            and not self._problem
            and self._allowance.covers(tally.rejected, lines)
        )
        told = f"{count(tally.accepted)} of {plural(lines, 'line')} would be sent"
        rest = f"; {count(tally.rejected)} rejected{in_money(tally)}" if tally.rejected else ""
        self._screen.say(f"{told}{rest}.", "bold green" if is_good else "bold red")
        return 0 if is_good else 1

    def _remarks(self) -> list[str]:
        remarks = []
        if self._tally.derived:
            lines = plural(self._tally.derived, "line")
            remarks.append(
                f"{lines} with a shop's own visitor id: sent to this machine, or with "
                f"--derive-visitors; {DERIVED}"
            )
        if self._without_id:
            orders = plural(self._without_id, "order")
            remarks.append(f"{orders} without order_id: sent twice, each counts twice.")
        if self._repeats:
            orders = plural(self._repeats, "order")
            remarks.append(f"{orders} with the order_id of an earlier line: recorded once only.")
        return remarks
