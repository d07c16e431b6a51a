package interop

import "strings"

// negotiations are conversations about capabilities.
var negotiations = []conversation{
	{"greeting", []string{""}},
	{"too early", []string{`{"execute": "query-version"}{"execute": "no-such"}{"execute": "quit"}`}},
	{"early out of band", []string{`{"exec-oob": "qmp_capabilities"}{"exec-oob": "query-status", "id": 1}`}},
	{"twice", []string{negotiate, negotiate, `{"execute": "qmp_capabilities", "id": 7}`}},
	{"twice, with arguments", []string{negotiate, negotiateOOB, `{"execute": "qmp_capabilities", "arguments": {"x": 1}}`}},
	{"empty list", []string{`{"execute": "qmp_capabilities", "arguments": {"enable": []}}`, `{"exec-oob": "query-status"}`}},
	{"empty arguments", []string{`{"execute": "qmp_capabilities", "arguments": {}}`, `{"execute": "query-name"}`}},
	{"not a list", []string{`{"execute": "qmp_capabilities", "arguments": {"enable": "oob"}}`, `{"execute": "query-name"}`}},
	{"null list", []string{`{"execute": "qmp_capabilities", "arguments": {"enable": null}}`, `{"execute": "query-name"}`}},
	{"unknown capability", []string{`{"execute": "qmp_capabilities", "arguments": {"enable": ["x"]}}`, negotiateOOB}},
	{"known and unknown", []string{`{"execute": "qmp_capabilities", "arguments": {"enable": ["oob", "x"]}}`, negotiate}},
	{"empty name", []string{`{"execute": "qmp_capabilities", "arguments": {"enable": [""]}}`, negotiate}},
	{"number", []string{`{"execute": "qmp_capabilities", "arguments": {"enable": ["oob", 1]}}`, negotiate}},
	{"nested list", []string{`{"execute": "qmp_capabilities", "arguments": {"enable": [["oob"]]}}`, negotiate}},
	{"same twice", []string{`{"execute": "qmp_capabilities", "arguments": {"enable": ["oob", "oob"]}}`, `{"exec-oob": "query-status"}`}},
	{"unexpected argument", []string{`{"execute": "qmp_capabilities", "arguments": {"enable": [], "disable": []}}`, negotiate}},
	{"wrong and unexpected", []string{`{"execute": "qmp_capabilities", "arguments": {"a": 1, "enable": 2}}`, negotiate}},
	{"in one go", []string{negotiate + `{"execute": "query-status", "id": 1}` + "\r\n" + `{"execute": "query-name", "id": 2}`}},
	{"out of band, no such", []string{negotiateOOB, `{"exec-oob": "no-such", "id": 1}`}},
	{"out of band, unable", []string{negotiateOOB, `{"exec-oob": "query-status", "id": 1}`}},
	{"out of band, not negotiated", []string{negotiate, `{"exec-oob": "query-status", "id": 1}`}},
	{"out of band, arguments", []string{negotiateOOB, `{"exec-oob": "query-status", "id": 1, "arguments": {"x": 1}}`, `{"exec-oob": "no-such", "arguments": 1}`}},
	{"events", []string{negotiate, `{"execute": "cont"}`, `{"execute": "cont"}`, `{"execute": "stop"}`, `{"execute": "stop", "id": {}}`}},
	{"no events before", []string{`{"execute": "cont"}`, negotiate, `{"execute": "query-status"}`}},
}

// rep repeats.
func rep(s string, n int) string { return strings.Repeat(s, n) }

// malformed is input that is no request, and some that nearly is.
var malformed = []string{
	// What QEMU's own tests send.
	"{]\n", "{\xff", "{\x01", "{'bad \xff", "{'execute': 'nonexistent', 'id':'\n", "%p", "null", "{}",
	// Values of other types.
	"true", "false ", "nul ", "nulll ", "trueish\n", "x ", "0 ", "1 ", "-1\n", "1.5 ", "1e5 ", "''", `""`, "'abc'", "[]", "[1,2]", "[[[]]]", "[{}]", "1 2 3 ",
	"TRUE", "True {", "tru\xfee",
	// Brackets and separators.
	"}", "]", "{}}", "[]]", "[}", "{]", "[{]}", "[[]", "{'a':{}", ",", ":", ",,", "{,}", "[,]", "[,1]", "[1,]", "[1,,2]", "[1 2]", "[1:2]", "{:}", "{'a'}", "{'a':}",
	"{'a',}", "{'a':1,}", "{'a' 1}", "{'a'::1}", "{'a':1 'b':2}", "{'a':1;'b':2}", "{a:1}", "{1:1}", "{null:1}", "{{}:1}", "{[]:1}", "{[1}:1}", "{'a':1]",
	"{'a':[1}", "{'execute': }", "{'execute'}", "{'execute':'query-status'}}", "}}{{", "{{}}", "{\"a\"]", "{[nul]:1}", "{nul:1}", "{1.e:1}",
	"{'a':[}", "[{'a'}]", "{'a':'b'",
	// Strings.
	"'", "\"", "'\"'", "\"'\"", "'a\nb'", "'a\tb'", "'a\x00b'", "'a\x7fb'", "\"\x1f\"", "'\\'", "'\\''", "\"\\\"\"", `'\`, `'\x'`, `'\a'`, `'\0'`, `'\U0041'`,
	`'\u'`, `'\u1'`, `'\u12'`, `'\u123'`, `'\u123g'`, `'\u 123'`, `'\u-123'`, `'\u0000'`, `'\ud800'`, `'\udbff'`, `'\udc00'`, `'\udfff'`, `'\ud83d\ude00'`, `'\ud83d\ud83d'`,
	`'\ud83dx'`, `'\ud83d\n'`, `'\ud83d\u'`, `'\ud83d\u0041'`, `'\ud83d\u12'`, `'\ufffe'`, `'\uffff'`, `'\ufdd0'`, `'\ufdef'`, `'\ufdf0'`, `'\ufffd'`, `'\ud83f\udfff'`, `'\udbff\udfff'`, `'\udbff\udffd'`,
	"'é'", "'\xc3('", "'\xc3'", "'\x80'", "'\xbf'", "'\xc0\x80'", "'\xc0\x81'", "'\xc1\xbf'", "'\xe0\x80\x80'", "'\xed\xa0\x80'", "'\xed\xbf\xbf'", "'\xef\xbf\xbe'", "'\xef\xbf\xbd'",
	"'\xf0\x80\x80\x80'", "'\xf0\x9f\x98\x80'", "'\xf4\x8f\xbf\xbd'", "'\xf4\x90\x80\x80'", "'\xf7\xbf\xbf\xbf'", "'\xf8\x88\x80\x80\x80'", "'\xfc\x84\x80\x80\x80\x80'", "'\xfd'", "'\xfe'", "'\xff'",
	`{'a\u0000b': 1, 'execute': 'x'}`, "{'\\ud800': 1}", "{'\xc3(': 1}", "{'\\x': 1}", "['\\x', nul]", "[nul, '\\x']",
	// Numbers.
	"-", "- ", "-x", "--1 ", "+1 ", ".5 ", "1. ", "1.x", "1.5.5 ", "1e ", "1e+ ", "1e- ", "1e+x ", "1E5 ", "1e+5 ", "1e-5 ", "1ee5 ", "01 ", "00 ", "-0 ", "-01 ", "-00 ", "0x1 ",
	"0.0 ", "-0.0 ", "1_000 ", "1a ", "1true ", "1[", "1{", "1'a'", "1,", "9223372036854775808 ", "Infinity ", "-Infinity ", "NaN ", "nan ",
	// Recovery.
	"@", "@ abc {'execute': 'x'}", "@\n{'execute': 'x'}", "@\t{'execute': 'x'}", "@'", "@ : ", "@ , ", "@ ] ", "@ } ", "@\x00", "\x00", "\x00\x00", "\x7f", "\x80", "\xc3\xa9", "é ", "\xef\xbb\xbf{}",
	"\xfe", "\xff\xff", "\xfe\xff\xfe", "{'execute': 'query-\xff{'execute': 'x'}", "[[[ 'abc\xff{'execute': 'x'}", "{'a': \x01{'execute': 'x'}", "// c\n{}", "/* c */ {}", "# c\n{}", "{'a': 1, # c\n'execute': 'x'}",
	"\r\n\t ", "\v", "\f", "\u00a0{}", "\u2028", "<!>", "GET / HTTP/1.1\r\nHost: x\r\n\r\n", "%", "%d", "[%p]", "$", "(", ")", "`", "~", "\x1b[A",
	// Size.
	rep("[", 1024) + rep("]", 1024), rep("[", 1025) + rep("]", 1025), rep("[", 3000), rep("{'a':", 1024) + "1" + rep("}", 1024), rep("{'a':", 1025), rep("[{'a':", 512) + "1" + rep("}]", 512),
	rep("[{'a':", 513), "'" + rep("x", 100000) + "'", rep("x", 900) + " ", rep("x", 2000) + " ", "@" + rep("x", 5000), "'" + rep("x", 3000) + "\n", rep("1", 400) + " ", rep("x", 991) + " ", rep("x", 990) + " ",
	rep("x", 989) + " ", "{'" + rep("k", 2000) + "': 1}",
	"{'a':1,'a':1}", "{'a':1,'b':2,'a':nul}", "{'a':1,'a':}", "{'a':1,'\\u0061':2}", "{'':1,'':2}", "[{'x':{'a':1,'a':2}}]",
}

// envelopes are objects that are, or are not, requests.
var envelopes = []string{
	"{'execute': 'query-status'}", "{'execute': 'no-such'}", "{'execute': ''}", "{'execute': 'QUERY-STATUS'}", "{'execute': 'query-status '}", "{'execute': 'query_status'}",
	"{'execute': 'é'}", "{'execute': 'a\\u0000b'}", "{'execute': 'a%sb'}", "{'execute': '" + rep("x", 5000) + "'}",
	"{'execute': 1}", "{'execute': null}", "{'execute': true}", "{'execute': []}", "{'execute': {}}", "{'execute': ['query-status']}",
	"{'exec-oob': 1}", "{'exec-oob': 'query-status'}", "{'exec-oob': 'no-such'}", "{'exec-oob': ''}", "{'exec-oob': 'a', 'execute': 'b'}", "{'execute': 'b', 'exec-oob': 'a'}",
	"{'execute': 'b', 'exec-oob': 1}", "{'execute': 1, 'exec-oob': 'a'}", "{'exec-oob': null, 'execute': 'query-status'}",
	"{'arguments': {}}", "{'arguments': 1}", "{'id': 1}", "{'id': 1, 'arguments': {}}", "{'Execute': 'query-status'}", "{'execute ': 'query-status'}",
	"{'execute': 'query-status', 'arguments': {}}", "{'execute': 'query-status', 'arguments': null}", "{'execute': 'query-status', 'arguments': []}", "{'execute': 'query-status', 'arguments': 'x'}",
	"{'execute': 'query-status', 'arguments': 1}", "{'execute': 'no-such', 'arguments': []}", "{'execute': 'no-such', 'arguments': {'x': 1}}",
	"{'execute': 'query-status', 'extra': true}", "{'execute': 'no-such', 'extra': true}", "{'extra': 1, 'more': 2}", "{'more': 2, 'extra': 1}", "{'execute': 'x', 'args': {}}", "{'': 1}",
	"{'a': 1, 'b': 1, 'c': 1, 'd': 1, 'execute': 1, 'arguments': 1}", "{'control': {}, 'execute': 'query-status'}", "{'execute': 'query-status', 'id': 1, 'ID': 2}",
	"{'execute': 'query-status', 'arguments': 1, 'extra': 1}", "{'extra': 1, 'arguments': 1, 'execute': 1}", "{'arguments': 1, 'execute': 1}", "{'execute': 1, 'arguments': 1}",
	"{'é': 1}", "{'\\u0001': 1, 'execute': 'x'}", "{'a\"b': 1}", "{\"a'b\\\\c\": 1}", "{'execute': 'query-status', 'a%s': 1}", "{'execute': 'query-status', '\U0001f600': 1}",
	"{'return': {}}", "{'error': {'class': 'GenericError', 'desc': 'x'}}", "{'event': 'STOP'}", "{'QMP': {}}",
	"{'execute':'no-such'}{'execute':'no-such','id':1} [] {'id':2,'execute':'no-such'}", "{\r\n\t'execute'\r\n:\t'no-such'\n}",
}

// ids are values that name a request.
var ids = []string{
	"0", "1", "-1", "null", "true", "false", "''", "'x'", "[]", "{}", "[[]]", "[1, 'a', null, true, {}]", "{'a': {'b': [1, 2, {'c': null}]}}", "{'a': [], 'b': {}, 'c': [{}]}",
	"9223372036854775807", "-9223372036854775808", "9223372036854775808", "18446744073709551615", "18446744073709551616", "-9223372036854775809", "123456789012345678901234567890", "-0",
	"0.0", "0.5", "1.0", "-1.5", "0.1", "1e5", "1e16", "1e17", "1e18", "1e300", "-1e300", "1e-5", "0.0001", "0.00001", "1.7976931348623157e308", "5e-324", "1e-400", "3.141592653589793238462643", "100.0", "123456789.125",
	"1E2", "1e+2", "2.5e-3", "0.30000000000000004", "12345678901234567.0", "123456789012345678.0", "4503599627370497.5",
	"'é'", "'\\u00e9'", "'\\ud83d\\ude00'", "'\U0001f600'", "'\\u0000'", "'\\u0001\\u001f\\u007f\\u0080'", "'\"'", "\"'\"", "'\\''", "'\\\\'", "'\\/'", "'/'", "'\\b\\f\\n\\r\\t'", "'\x7f'", "'<>&'", "'\\u2028'", "'\\ufffd'", "'\xc0\x80'",
	"'" + rep("long ", 4000) + "'", "[" + rep("1,", 3000) + "1]", "{'b': 1, 'a': 2, 'c': 3, 'aa': 4, 'return': 5, 'error': 6, 'id': 7, 'execute': 8, '': 9, 'é': 10}",
	rep("[", 900) + rep("]", 900), "{'class': 1, 'desc': 2, 'timestamp': 3, 'event': 4, 'data': 5, 'status': 6, 'running': 7, 'singlestep': 8, 'q': 9, 'Q': 10, 'ab': 11, 'ba': 12}",
}

// arguments are commands with arguments of all kinds.
var arguments = []string{
	"{'execute': 'query-status', 'arguments': {'x': 1}}", "{'execute': 'query-status', 'arguments': {'': 1}}", "{'execute': 'query-status', 'arguments': {'b': 1, 'a': 2}}",
	"{'execute': 'query-status', 'arguments': {'é': 1}}",
	"{'execute': 'query-name'}", "{'execute': 'query-uuid'}", "{'execute': 'query-version'}", "{'execute': 'query-kvm'}", "{'execute': 'query-target'}", "{'execute': 'query-balloon'}",
	"{'execute': 'balloon'}", "{'execute': 'balloon', 'arguments': {}}", "{'execute': 'balloon', 'arguments': {'value': 'x'}}", "{'execute': 'balloon', 'arguments': {'value': '1'}}",
	"{'execute': 'balloon', 'arguments': {'value': 1.0}}", "{'execute': 'balloon', 'arguments': {'value': 1e3}}", "{'execute': 'balloon', 'arguments': {'value': null}}",
	"{'execute': 'balloon', 'arguments': {'value': []}}", "{'execute': 'balloon', 'arguments': {'value': {}}}", "{'execute': 'balloon', 'arguments': {'value': true}}",
	"{'execute': 'balloon', 'arguments': {'value': 9223372036854775807}}", "{'execute': 'balloon', 'arguments': {'value': 9223372036854775808}}",
	"{'execute': 'balloon', 'arguments': {'value': -9223372036854775809}}", "{'execute': 'balloon', 'arguments': {'value': 0}}", "{'execute': 'balloon', 'arguments': {'value': -1}}",
	"{'execute': 'balloon', 'arguments': {'value': 1, 'x': 2}}", "{'execute': 'balloon', 'arguments': {'x': 2}}", "{'execute': 'balloon', 'arguments': {'value': 'x', 'y': 2}}",
	"{'execute': 'set-action'}", "{'execute': 'set-action', 'arguments': {}}", "{'execute': 'set-action', 'arguments': {'reboot': 'x'}}", "{'execute': 'set-action', 'arguments': {'reboot': 1}}",
	"{'execute': 'set-action', 'arguments': {'reboot': null}}", "{'execute': 'set-action', 'arguments': {'reboot': ''}}", "{'execute': 'set-action', 'arguments': {'reboot': 'RESET'}}",
	"{'execute': 'set-action', 'arguments': {'reboot': 'reset\\u0000'}}", "{'execute': 'set-action', 'arguments': {'reboot': 'é'}}", "{'execute': 'set-action', 'arguments': {'panic': 'x', 'reboot': 'y'}}",
	"{'execute': 'set-action', 'arguments': {'watchdog': 'x', 'shutdown': 'y', 'zz': 1}}", "{'execute': 'set-action', 'arguments': {'reboot': 'reset', 'shutdown': 'poweroff', 'panic': 'shutdown', 'watchdog': 'reset'}}",
	"{'execute': 'set-action', 'arguments': {'panic': 'none', 'reboot': 'shutdown'}}", "{'execute': 'set-action', 'arguments': {'panic': 'run'}}", "{'execute': 'set-action', 'arguments': {'panic': 'shutdown', 'reboot': 'reset'}}",
	"{'execute': 'system_powerdown', 'arguments': {'x': {}}}",
}
