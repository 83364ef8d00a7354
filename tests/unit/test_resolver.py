"""Look-ups against a small DNS server of the test's own on 127.0.0.1."""

from __future__ import annotations

import asyncio
import math
import sys
from pathlib import Path

import dns.name
import pytest
from loops import Runner, both_loops
from name_server import Clock, failure, name_server

from sipprofile.net import hosts, resolver
from sipprofile.net.resolver import Resolution, ResolveFailed, Resolver
from sipprofile.sip.locating import Naptr, Question, Srv


@pytest.fixture(autouse=True)
def hosts_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A hosts file of the test's own."""
    path = tmp_path / "hosts"
    path.write_text("# nothing yet\n")
    monkeypatch.setattr(hosts, "HOSTS_FILE", str(path))
    return path


class TestWithoutDns:
    @both_loops
    @pytest.mark.parametrize(
        ("host", "address"),
        [("192.0.2.1", "192.0.2.1"), ("2001:DB8::1", "2001:db8::1"), ("[::1]", "::1"), ("fe80::1%lo", "fe80::1%lo")],
    )
    def test_a_numeric_host_is_its_own_address_for_ever(self, run: Runner, host: str, address: str) -> None:
        async def main() -> None:
            assert await Resolver(nameservers=["127.0.0.1:1"]).resolve(Question(host)) == Resolution(
                (address,), math.inf
            )

        run(main())

    @both_loops
    @pytest.mark.parametrize("host", ["localhost", "LOCALHOST.", "a.localhost"])
    def test_localhost_needs_no_file(self, run: Runner, host: str, hosts_file: Path) -> None:
        """RFC 6761 §6.3."""
        hosts_file.unlink()

        async def main() -> None:
            found = await Resolver(nameservers=["127.0.0.1:1"]).resolve(Question(host))
            assert found.records == ("127.0.0.1", "::1")

        run(main())

    @both_loops
    def test_the_hosts_file_is_read_again_when_it_changes(self, run: Runner, hosts_file: Path) -> None:
        write = hosts_file.write_text
        write("192.0.2.7 pbx pbx.example.test # ours\n::7\tPBX\nnonsense pbx\n\n")

        async def main() -> None:
            names = Resolver(nameservers=["127.0.0.1:1"])
            assert (await names.resolve(Question("Pbx"))).records == ("192.0.2.7", "::7")
            assert (await names.resolve(Question("pbx.example.test"))).records == ("192.0.2.7",)
            write("192.0.2.88 pbx\n")
            assert (await names.resolve(Question("pbx"))).records == ("192.0.2.88",)

        run(main())

    def test_dnspython_is_imported_when_needed_only(self) -> None:
        import subprocess

        program = (
            "import sys; import sipprofile.net.resolver; sys.exit(any(m.split('.')[0] == 'dns' for m in sys.modules))"
        )
        assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


class TestAddresses:
    @both_loops
    def test_ipv4_comes_before_ipv6_with_the_shorter_ttl(self, run: Runner) -> None:
        async def main() -> None:
            async with name_server() as (server, names, _):
                server.put("sip.example.test", 300, "A", "192.0.2.1", "192.0.2.2")
                server.put("sip.example.test", 120, "AAAA", "2001:db8::1")
                found = await names.resolve(Question("sip.example.test"))
                assert sorted(found.records[:2]) == ["192.0.2.1", "192.0.2.2"]
                assert found.records[2:] == ("2001:db8::1",)
                assert found.ttl == 120

        run(main())

    @both_loops
    @pytest.mark.parametrize(("kind", "address"), [("A", "192.0.2.1"), ("AAAA", "2001:db8::1")])
    def test_one_family_is_enough(self, run: Runner, kind: str, address: str) -> None:
        async def main() -> None:
            async with name_server() as (server, names, _):
                server.put("sip.example.test", 300, kind, address)
                assert await names.resolve(Question("sip.example.test")) == Resolution((address,), 300)

        run(main())

    @both_loops
    def test_an_alias_is_followed_and_its_ttl_counts(self, run: Runner) -> None:
        async def main() -> None:
            async with name_server() as (server, names, _):
                server.put("www.example.test", 60, "CNAME", "sip.example.test.")
                server.put("sip.example.test", 300, "A", "192.0.2.1")
                assert await names.resolve(Question("www.example.test")) == Resolution(("192.0.2.1",), 60)

        run(main())

    @both_loops
    @pytest.mark.parametrize("silent", ["A", "AAAA"])
    def test_a_silent_server_for_one_family_does_not_hold_up_the_other(
        self, run: Runner, silent: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(resolver, "SECOND_FAMILY_DELAY", 0.05)

        async def main() -> None:
            async with name_server() as (server, names, _):
                server.put("sip.example.test", 3600, "A", "192.0.2.1")
                server.put("sip.example.test", 3600, "AAAA", "2001:db8::1")
                server.silent = {silent}
                found = await names.resolve(Question("sip.example.test"))
                assert found == Resolution(("2001:db8::1" if silent == "A" else "192.0.2.1",), resolver.INCOMPLETE_TTL)

        run(main())


class TestServices:
    """SRV (RFC 2782) and NAPTR (RFC 3403) records."""

    @both_loops
    def test_records_come_as_they_are(self, run: Runner) -> None:
        async def main() -> None:
            async with name_server() as (server, names, _):
                server.put("_sip._udp.example.test", 60, "SRV", "10 20 5070 One.Example.test.", "0 0 0 .")
                found = await names.resolve(Question("_SIP._udp.example.test", "SRV"))
                assert set(found.records) == {Srv(10, 20, 5070, "one.example.test"), Srv(0, 0, 0, "")}
                assert found.ttl == 60
                line = '50 90 "S" "SIP+d2t" "" _sip._tcp.example.test.'
                server.put("example.test", 90, "NAPTR", line)
                found = await names.resolve(Question("example.test", "NAPTR"))
                assert found == Resolution((Naptr(50, 90, "S", "SIP+d2t", "_sip._tcp.example.test"),), 90)

        run(main())

    @both_loops
    def test_a_name_without_them(self, run: Runner) -> None:
        async def main() -> None:
            async with name_server() as (server, names, _):
                server.put("example.test", 300, "A", "192.0.2.1")
                for name, kind in (("example.test", "NAPTR"), ("_sip._udp.example.test", "SRV")):
                    for _ in range(2):
                        with pytest.raises(ResolveFailed) as caught:
                            await names.resolve(Question(name, kind))  # type: ignore[arg-type]
                        assert (caught.value.code, caught.value.retry_after) == ("resolve_not_found", 120)
                    assert server.asked[name + ".", kind] == 1
                assert (await names.resolve(Question("example.test"))).records == ("192.0.2.1",)

        run(main())

    @both_loops
    def test_a_server_that_never_answers_them_costs_less_time(
        self, run: Runner, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(resolver, "SERVICE_TIME_LIMIT", 0.05)

        async def main() -> None:
            async with name_server() as (server, names, _):
                server.silent = {"NAPTR"}
                with pytest.raises(ResolveFailed) as caught:
                    await names.resolve(Question("example.test", "NAPTR"))
                assert (caught.value.code, caught.value.retry_after) == ("resolve_timeout", resolver.FAILURE_TTL)

        run(main())

    @both_loops
    @pytest.mark.parametrize("question", [Question("pbx", "NAPTR"), Question("_sip._udp.pbx", "SRV")])
    def test_a_name_of_the_hosts_file_has_none(self, run: Runner, hosts_file: Path, question: Question) -> None:
        hosts_file.write_text("192.0.2.7 pbx\n")

        async def main() -> None:
            async with name_server() as (server, names, _):
                with pytest.raises(ResolveFailed) as caught:
                    await names.resolve(question)
                assert (caught.value.code, caught.value.retry_after) == ("resolve_not_found", resolver.HOSTS_TTL)
                assert not server.asked

        run(main())

    @both_loops
    def test_a_large_answer_comes_over_tcp(self, run: Runner) -> None:
        """RFC 7766: the answer by UDP is truncated."""
        records = [f"{number} 0 5060 server-{number}.example.test." for number in range(500)]

        async def main() -> None:
            async with name_server() as (server, names, _):
                server.put("_sip._udp.example.test", 60, "SRV", *records)
                port = server.transport.get_extra_info("sockname")[1]
                over_tcp = await asyncio.start_server(server.serve_stream, "127.0.0.1", port)
                found = await names.resolve(Question("_sip._udp.example.test", "SRV"))
                assert len(found.records) == 500
                over_tcp.close()

        run(main())

    @both_loops
    def test_another_domain_of_the_search_list_is_not_meant(self, run: Runner) -> None:
        async def main() -> None:
            async with name_server() as (server, names, _):
                found = names._resolver()
                found.search = [dns.name.from_text("corp.test")]
                found.use_search_by_default = True
                with pytest.raises(ResolveFailed):
                    await names.resolve(Question("_sip._udp.example.test", "SRV"))
                assert set(server.asked) == {("_sip._udp.example.test.", "SRV")}
                server.put("_sip._udp.pbx.corp.test", 60, "SRV", "0 0 5060 one.corp.test.")
                assert (await names.resolve(Question("_sip._udp.pbx", "SRV"))).records

        run(main())


class TestTimeToLive:
    @both_loops
    def test_nothing_is_asked_again_before_its_end(self, run: Runner) -> None:
        async def main() -> None:
            async with name_server() as (server, names, clock):
                server.put("sip.example.test", 300, "A", "192.0.2.1")
                await names.resolve(Question("sip.example.test"))
                clock.now += 299
                assert await names.resolve(Question("SIP.example.test")) == Resolution(("192.0.2.1",), 1)
                assert server.asked["sip.example.test.", "A"] == 1
                server.put("sip.example.test", 300, "A", "192.0.2.9")
                clock.now += 1
                assert (await names.resolve(Question("sip.example.test"))).records == ("192.0.2.9",)

        run(main())

    @both_loops
    @pytest.mark.parametrize(("given", "used"), [(0, 1), (7 * 86400, 86400)])
    def test_limits(self, run: Runner, given: int, used: int) -> None:
        async def main() -> None:
            async with name_server() as (server, names, _):
                server.put("sip.example.test", given, "A", "192.0.2.1")
                assert (await names.resolve(Question("sip.example.test"))).ttl == used

        run(main())

    @both_loops
    def test_forget(self, run: Runner) -> None:
        async def main() -> None:
            async with name_server() as (server, names, _):
                server.put("sip.example.test", 300, "A", "192.0.2.1")
                await names.resolve(Question("sip.example.test"))
                names.forget()
                await names.resolve(Question("sip.example.test"))
                assert server.asked["sip.example.test.", "A"] == 2

        run(main())

    def test_forget_asks_anew_what_is_being_asked(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """An answer from the network that we have left is nobody's any more, however late it comes."""

        async def main() -> None:
            begun, late = asyncio.Event(), asyncio.Event()
            address = "192.0.2.1"

            async def query(_: object, host: str, kind: str) -> resolver._Answer:
                known = address
                begun.set()
                if known == "192.0.2.1":
                    await late.wait()
                return resolver._Answer((known,) if kind == "A" else (), 300.0)

            monkeypatch.setattr(resolver, "_query", query)
            names = resolver.Resolver(nameservers=["127.0.0.1"])
            first = asyncio.create_task(names.resolve(Question("sip.example.test")))
            await begun.wait()
            address = "192.0.2.9"
            names.forget()
            assert (await names.resolve(Question("sip.example.test"))).records == (address,)
            late.set()
            assert (await first).records == (address,)
            assert (await names.resolve(Question("sip.example.test"))).records == (address,)

        Runner(asyncio.SelectorEventLoop)(main())

    @both_loops
    def test_the_cache_is_bounded(self, run: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(resolver, "MAXIMUM_NAMES", 2)

        async def main() -> None:
            async with name_server() as (server, names, _):
                for host in ("a.test", "b.test", "c.test", "c.test", "a.test"):
                    server.put(host, 300, "A", "192.0.2.1")
                    await names.resolve(Question(host))
                assert [server.asked[f"{host}.test.", "A"] for host in "abc"] == [2, 1, 1]

        run(main())


class TestFailures:
    @both_loops
    @pytest.mark.parametrize(
        ("soa", "retry_after"), [((600, 120), 120), ((60, 120), 60), ((9999, 9999), 300), (None, 1)]
    )
    def test_no_such_name(self, run: Runner, soa: tuple[int, int] | None, retry_after: float) -> None:
        """RFC 2308 §5."""

        async def main() -> None:
            async with name_server() as (server, names, clock):
                server.negative = soa
                assert await failure(names, "no.example.test") == ("resolve_not_found", retry_after)
                clock.now += retry_after - 0.5
                assert await failure(names, "no.example.test") == ("resolve_not_found", 0.5)
                assert server.asked["no.example.test.", "A"] == 1
                server.put("no.example.test", 300, "A", "192.0.2.1")
                clock.now += 0.5
                assert (await names.resolve(Question("no.example.test"))).records == ("192.0.2.1",)

        run(main())

    @both_loops
    def test_a_name_without_addresses(self, run: Runner) -> None:
        async def main() -> None:
            async with name_server() as (server, names, _):
                server.put("mail.example.test", 300, "TXT", '"x"')
                assert await failure(names, "mail.example.test") == ("resolve_not_found", 120)

        run(main())

    @both_loops
    def test_nobody_answers(self, run: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(resolver, "TIME_LIMIT", 0.05)

        async def main() -> None:
            async with name_server() as (server, names, _):
                server.silent = {"A", "AAAA"}
                assert await failure(names, "sip.example.test") == ("resolve_timeout", resolver.FAILURE_TTL)
                assert await failure(names, "sip.example.test") == ("resolve_timeout", resolver.FAILURE_TTL)
                assert server.asked["sip.example.test.", "A"] == 1  # RFC 9520 §3.2

        run(main())

    @both_loops
    def test_a_broken_server(self, run: Runner) -> None:
        async def main() -> None:
            async with name_server() as (server, names, clock):
                server.broken = True
                assert await failure(names, "sip.example.test") == ("resolve_failed", resolver.FAILURE_TTL)
                server.broken = False
                server.put("sip.example.test", 300, "A", "192.0.2.1")
                clock.now += resolver.FAILURE_TTL
                assert (await names.resolve(Question("sip.example.test"))).ttl == 300

        run(main())

    @both_loops
    @pytest.mark.parametrize("host", ["a..b", "x" * 64 + ".test", "a." * 200 + "test", "", "bü\udc80cher.test"])
    def test_an_impossible_name_is_a_failure_not_a_crash(self, run: Runner, host: str) -> None:
        async def main() -> None:
            async with name_server() as (_, names, _):
                with pytest.raises(ResolveFailed):
                    await names.resolve(Question(host))

        run(main())

    @both_loops
    def test_no_configuration(self, run: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = tmp_path / "resolv.conf"
        monkeypatch.setattr(resolver, "RESOLV_CONF", str(path))

        async def main() -> None:
            clock = Clock()
            names = Resolver(clock=clock)
            with pytest.raises(ResolveFailed, match=r"resolv\.conf") as caught:
                await names.resolve(Question("sip.example.test"))
            assert caught.value.code == "resolve_failed"

        run(main())


class TestSystemConfiguration:
    @both_loops
    def test_is_read_again_when_it_changes(self, run: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = tmp_path / "resolv.conf"
        monkeypatch.setattr(resolver, "RESOLV_CONF", str(path))
        path.write_text("nameserver 127.0.0.1\n")
        names = Resolver()

        async def main() -> None:
            assert names._resolver().nameservers == ["127.0.0.1"]
            before = names._resolver()
            assert names._resolver() is before
            path.write_text("nameserver 127.0.0.53\nsearch cluster.local\n")
            assert names._resolver().nameservers == ["127.0.0.53"]
            assert names._resolver().use_search_by_default

        run(main())


class TestSingleFlight:
    @both_loops
    def test_many_ask_once(self, run: Runner) -> None:
        async def main() -> None:
            async with name_server() as (server, names, _):
                server.put("sip.example.test", 300, "A", "192.0.2.1")
                server.hold.clear()
                waiting = [asyncio.create_task(names.resolve(Question("sip.example.test"))) for _ in range(100)]
                await server.was_asked.wait()
                server.hold.set()
                assert {(await one).records for one in waiting} == {("192.0.2.1",)}
                assert server.asked == {("sip.example.test.", "A"): 1, ("sip.example.test.", "AAAA"): 1}

        run(main())

    @both_loops
    def test_one_that_gives_up_does_not_end_it_for_the_others(self, run: Runner) -> None:
        async def main() -> None:
            async with name_server() as (server, names, _):
                server.put("sip.example.test", 300, "A", "192.0.2.1")
                server.hold.clear()
                first = asyncio.create_task(names.resolve(Question("sip.example.test")))
                second = asyncio.create_task(names.resolve(Question("sip.example.test")))
                await server.was_asked.wait()
                first.cancel()
                server.hold.set()
                assert (await second).records == ("192.0.2.1",)

        run(main())
