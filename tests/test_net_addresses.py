"""Which addresses and URLs may be fetched from: every known disguise of what is not on the public internet."""

import ipaddress

import pytest

from offgrid.errors import BadRequest, PermissionDenied
from offgrid.net.addresses import AddressRules, is_public
from offgrid.net.targets import read_url

PRIVATE = (
    "0.0.0.0 0.1.2.3 10.0.0.1 10.255.255.255 100.64.0.1 100.100.100.200 127.0.0.1 127.1.2.3 168.63.129.16 "
    "169.254.0.1 169.254.169.254 172.16.0.1 172.31.255.255 192.0.0.192 192.0.2.1 192.88.99.1 192.168.1.1 "
    "198.18.0.1 198.19.255.255 198.51.100.7 203.0.113.9 224.0.0.1 239.255.255.250 240.0.0.1 "
    "255.255.255.255 :: ::1 ::127.0.0.1 ::ffff:127.0.0.1 ::ffff:10.0.0.1 ::ffff:7f00:1 "
    "::ffff:169.254.169.254 ::ffff:0:127.0.0.1 64:ff9b::127.0.0.1 64:ff9b::10.0.0.1 64:ff9b::a9fe:a9fe "
    "64:ff9b:1::7f00:1 100::1 2001::1 2001:0:7f00:1::1 2001:db8::1 2001:10::1 2001:20::1 2002:7f00:1::1 "
    "2002:808:808::1 3fff::1 4000::1 5f00::1 fc00::1 fd00:ec2::254 fdff::1 fe80::1 fe80::1%1 fe80::1%eth0 "
    "2606:4700::1111%1 fec0::1 ff02::1 ff0e::1 localhost 127.1 0x7f.1 2130706433 010.0.0.1 1.2.3 1.2.3.4.5 "
    "1.2.3.4/32 １.2.3.4 "
)
PUBLIC = (
    "1.1.1.1 8.8.8.8 93.184.216.34 172.32.0.1 192.169.0.1 100.128.0.1 2606:4700::1111 2a00:1450::1 "
    "2001:4860::8888 ::ffff:8.8.8.8 64:ff9b::8.8.8.8 "
)

NOT_FETCHED = [
    "",
    "example.org",
    "//example.org/",
    "file:///etc/passwd",
    "ftp://example.org/",
    "gopher://127.0.0.1:6379/_FLUSHALL",
    "data:text/plain,hello",
    "jar:http://example.org!/",
    "HTTP:example.org",
    "http://",
    "http:///path",
    "http://:80/",
    "http://user@example.org/",
    "http://user:password@example.org/",
    "http://example.org@127.0.0.1/",
    "http://127.0.0.1\\@example.org/",
    "http://example.org\\.evil.org/",
    "http://exa mple.org/",
    " http://example.org/",
    "http://example.org/a b",
    "http://example.org/\r\nX-Injected: 1",
    "http://example.org/\x00",
    "http://example.org\t/",
    "http://example.org/\u00a0",
    "http://example.org/\u2028",
    "http://example.org/\ud800",
    "http://example.org:0/",
    "http://example.org:65536/",
    "http://example.org:80:80/",
    "http://example.org:٨٠/",
    "http://example.org:-1/",
    "http://example.org:0x50/",
    "http://2130706433/",
    "http://0x7f000001/",
    "http://0x7f.1/",
    "http://0177.0.0.1/",
    "http://017700000001/",
    "http://127.1/",
    "http://127.0.1/",
    "http://0/",
    "http://00.0.0.0/",
    "http://127.0.0.1.2/",
    "http://127.0.0.0x1/",
    "http://256.1.1.1/",
    "http://1.1.1.1..",
    "http://１２７.0.0.1/",
    "http://①②⑦.0.0.1/",
    "http://127。0。0。1/",
    "http://127．0．0．1/",
    "http://٠.0.0.1/",
    "http://ｌocalhost/",
    "http://ⓛocalhost/",
    "http://localhoſt/",
    "http://example.or\u212a/",
    "http://straße.example/",
    "http://a\u200db.example/",
    "http://[::1/",
    "http://::1/",
    "http://[::1]x/",
    "http://[fe80::1%25eth0]/",
    "http://[fe80::1%eth0]/",
    "http://[v1.x]/",
    "http://[127.0.0.1]/",
    "http://%31%32%37.0.0.1/",
    "http://loc%61lhost/",
    "http://example..org/",
    "http://.example.org/",
    "http://-example.org/",
    "http://" + "a" * 64 + ".org/",
    "http://" + "a." * 130 + "org/",
    "http://example.org/" + "a" * 9000,
    None,
    7,
]


@pytest.mark.parametrize("address", ["", " 8.8.8.8", *PRIVATE.split()])
def test_what_is_not_on_the_public_internet_is_never_public(address):
    assert not is_public(address)


@pytest.mark.parametrize("address", PUBLIC.split())
def test_what_is_on_the_public_internet_is_public(address):
    assert is_public(address)


@pytest.mark.parametrize("url", NOT_FETCHED, ids=lambda url: repr(url)[:40])
def test_a_url_that_could_be_read_in_two_ways_is_refused(url):
    with pytest.raises(BadRequest) as caught:
        read_url(url)
    assert caught.value.param == "url" and caught.value.code == "invalid_url"


@pytest.mark.parametrize(
    ("url", "host", "asked"),
    [
        ("http://example.org", "example.org", "http://example.org/"),
        ("HTTPS://Example.ORG.:443/a?b=c#d", "example.org", "https://example.org/a?b=c"),
        ("http://example.org:8080?x", "example.org", "http://example.org:8080/?x"),
        ("http://münchen.example/ä?ö=%C3%BC", "xn--mnchen-3ya.example", None),
        ("http://аpple.com/", "xn--pple-43d.com", "http://xn--pple-43d.com/"),  # its first letter is Cyrillic
        ("http://[2606:4700:0::1111]:80/", "2606:4700::1111", "http://[2606:4700::1111]/"),
        ("http://[::ffff:127.0.0.1]/", "::ffff:7f00:1", None),
        ("http://1.2.3.4./", "1.2.3.4", "http://1.2.3.4/"),
        ("http://my_box.lan/../x", "my_box.lan", "http://my_box.lan/../x"),
    ],
)
def test_a_url_is_read_as_it_will_be_asked(url, host, asked):
    target = read_url(url)
    assert target.host == host
    assert target.url == (asked or target.url) and target.url.isascii()
    assert read_url(target.url) == target  # and what is asked reads the same


def test_a_redirect_counts_from_where_it_is():
    here = read_url("https://example.org/a/b?c")
    assert here.follow("d").url == "https://example.org/a/d"
    assert here.follow("//other.example/x").url == "https://other.example/x"
    for location in ("javascript:alert(1)", "http://u@h/", "http://2130706433/", "\\\\127.0.0.1\\x"):
        with pytest.raises(BadRequest):
            here.follow(location)


def test_one_refused_address_among_several_refuses_the_host():
    rules = AddressRules(networks_setting="a.b")
    rules.check_addresses("host", ["8.8.8.8", "2606:4700::1111"])
    with pytest.raises(PermissionDenied, match=r"host has the address 10.0.0.1.*a\.b can allow it"):
        rules.check_addresses("host", ["8.8.8.8", "10.0.0.1"])


def test_a_named_network_is_allowed_in_whatever_form_its_address_comes():
    rules = AddressRules(networks=(ipaddress.ip_network("10.1.0.0/16"), ipaddress.ip_network("fd00::/8")))
    rules.check_addresses("host", ["10.1.2.3", "::ffff:10.1.2.3", "64:ff9b::10.1.2.3", "fd12::1"])
    for address in ("10.2.0.1", "::ffff:10.2.0.1", "127.0.0.1", "fe80::1", "nonsense"):
        with pytest.raises(PermissionDenied):
            rules.check_addresses("host", [address])


def test_other_ports_than_those_of_the_web_must_be_named():
    rules = AddressRules(ports=(8080,), ports_setting="a.ports")
    for port in (80, 443, 8080):
        rules.check_port(port)
    with pytest.raises(PermissionDenied, match=r"Port 22 .* a\.ports can allow it"):
        rules.check_port(22)
