import "../../poller_test.ts";
import "../../tests/poller_close_test.ts";
import "../../tests/poller_datagrams_test.ts";
import "../../tests/poller_faults_test.ts";
import "../../tests/poller_programs_test.ts";
import "../../tests/poller_registrations_test.ts";
import "../../tests/poller_sockets_test.ts";
import "../../tests/poller_waits_test.ts";
