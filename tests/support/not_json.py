"""What is nearly JSON, and what every parser must refuse: one of each kind."""

from __future__ import annotations

from typing import Final

_TEXTS: Final = """
[1 true]|[a]|["": 1]|[""],|[,1]|[1,,2]|["x",,]|["x"]]|["",]|["x"|[x|[3[4]]|[1:2]|[,]|[-]|["|[1,]
[1,,]|[*]|[""|[1,|[{}|[fals]|[nul]|[tru]|[++1234]|[+1]|[+Inf]|[-01]|[-1.0.]|[-2.]|[-NaN]|[.-1]
[.2e-3]|[0.1.2]|[0.3e+]|[0.3e]|[0.e1]|[0E+]|[0E]|[0e+]|[0e]|[1.0e+]|[1.0e-]|[1.0e]|[1 000.0]|[1eE2]
[2.e+3]|[2.e-3]|[2.e3]|[9.e+]|[Inf]|[NaN]|[Infinity]|[1+2]|[0x1]|[0x42]|[-Infinity]|[-foo]|[- 1]
[-012]|[-.123]|[-1x]|[1ea]|[1.]|[.123]|[1.2a-3]|[1.8011670033376514H-308]|[012]|["x", truth]
{[: "x"}|{"x", null}|{"x"::"b"}|{"a":"a" 123}|{key: 'value'}|{"a" b}|{:"b"}|{"a" "b"}|{"a":|{"a"
{1:1}|{9999E9999:1}|{null:null,null:null}|{"id":0,,,,,}|{'a':0}|{"id":0,}|{"a":"b",,"c":"d"}
{"a":"b"}/**/|{"a":"b"}#|{"a":"a|{"a":"b"}//|{"a":"b"}/|{"a":"b",#}|{"a":"b","c"}
{ "foo" : "bar", "a" }|{"a":"b"}#{}| |["\\uD800\\"]|["\\uD800\\u"]|["\\uD800\\u1"]|["\\uD800\\u1x"]
[\xe9]|["\\x00"]|["\\\\\\"]|["\\	"]|["\\u00A"]|["\\"]|["\\a"]|["\\uqqqq"]|[\\u0020"x"]|[\\n]|"
['single']|abc|["\\|["x	y"]|"x" x|<.>|[<null>]|[1]x|[1]]|["asd]|aa|[True]|1]|{"x": true,|[][]|]|{}}
{"":|{|[|[{|{"a": true} "x"|['|["a|["a"|{,|{[|{"a|{'a'|["\\{["\\{["\\{["\\{|*|{"a":"b"}#{}
[\\u000A""]|[1|{"asd":"asd"|\u2060|[\f]|.|{"\\u12":1}|{"a":/*x*/"b"}|[1 /**/]|[٣]|["\x1f"]
{"a":1;"b":2}|[1;2]|[--1]|[1e1.5]|[1_000]|nan|TRUE|None|[0b1]|{"a"=1}
""".strip("\n").replace("\n", "|")

TEXTS: Final = _TEXTS.split("|")
"""Faults of syntax, and numbers that are none."""

BYTES: Final = [
    b"\xe5",
    b'["\xe5"]',
    b'["\\u\xe5"]',
    b"{\xef\xbb}",
    b"[\xff]",
    b'["\\\xe5"]',
    b"123\x00",
    b"[\x00]",
    b'["a\x00a"]',
    b"[1\xe5]",
    b"[1e1\xe5]",
    b"[0\xe5]",
    b"[\x0c]",
    b'["new\nline"]',
    b"\xf0\x9f\x8c\x80\xef\xbf\xbf",
    b"[\xc2\xa0]",
]
"""Faults of encoding, and control characters."""
