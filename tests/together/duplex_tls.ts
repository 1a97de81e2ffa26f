import "../../lib/accept/duplex_tls_test.ts";
