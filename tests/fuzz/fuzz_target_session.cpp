// Bytes as a connection in full feature phase: whatever they are, the session ends cleanly, and what it answers is
// PDUs.
//
// The first byte chooses what was negotiated. Everything runs on this thread: the shard's loop is polled by hand.
#include <sys/socket.h>

#include <array>
#include <boost/asio/co_spawn.hpp>

#include "base/check.hpp"
#include "base/memory_device.hpp"
#include "base/shard.hpp"
#include "target/iscsi/sessions.hpp"
#include "tests/fuzz/fuzz_input.hpp"
#include "wire/iscsi_pdu.hpp"

namespace mpath::target {
namespace {

class NoLog final : public StateLog {
 public:
  void commit(const LuState&, Done done) override { done({}); }
};

struct Target {
  MemorySink sink{16};
  LogOutput output{sink, LogLevel::error};
  Log log{output};
  Shard shard{0};
  NoLog state_log;
  MemoryDevice memory{
      {.limits = {.size_bytes = 1 << 20, .can_trim = true, .can_zero = true, .can_report_extents = true}}};
  std::shared_ptr<LogicalUnit> unit =
      std::make_shared<LogicalUnit>(shard, LuOptions{.name = "fuzz"}, memory, state_log, LuState{}, log);
  std::array<Shard*, 1> shards{&shard};
  Sessions sessions{shard.context(), shards, log};  // one loop plays both threads

  void poll() {
    shard.context().restart();
    while (shard.context().poll() > 0) {
    }
  }
  template <typename Work>
  void run(Work work, bool& done) {
    boost::asio::co_spawn(shard.context(), std::move(work), [&done](std::exception_ptr exception, auto&&...) {
      CHECK(exception == nullptr);
      done = true;
    });
    while (!done) poll();
  }
};

boost::asio::awaitable<void> begin(Target& target, Admission admission, UniqueFd socket) {
  auto seat = co_await target.sessions.admit(admission);
  CHECK(seat.has_value());
  Established connection{.socket = std::move(socket), .stat_sn = 1, .cmd_sn = 1};
  target.sessions.establish(std::move(*seat), std::move(connection));
}

// What came back: whole PDUs of a target.
void check_answers(std::span<const std::byte> bytes, const iscsi::Parameters& agreed) {
  while (bytes.size() >= iscsi::bhs_bytes) {
    const auto head = iscsi::decode_head(bytes.first<iscsi::bhs_bytes>());
    CHECK(head.has_value());
    CHECK(static_cast<unsigned>(head->opcode) >= 0x20);
    CHECK(head->data_length <= agreed.send_segment_max);
    const auto layout = iscsi::pdu_layout(*head, agreed.header_digest, agreed.data_digest);
    if (layout.total > bytes.size()) return;
    bytes = bytes.subspan(layout.total);
  }
}

}  // namespace

void fuzz_session(fuzz::Input input) {
  const unsigned choice = input.choice();
  iscsi::Parameters agreed{.receive_segment_max = 8192,
                           .send_segment_max = 8192,
                           .initial_r2t = (choice & 1) != 0,
                           .immediate_data = (choice & 2) == 0,
                           .max_burst = 16384,
                           .first_burst = 4096,
                           .max_outstanding_r2t = 1 + (choice >> 2 & 3),
                           .error_recovery_level = choice >> 4 & 1};
  Target target;
  auto view = std::make_shared<TargetView>();
  view->name = "iqn.2025-11.test:fuzz";
  view->nop_interval_ms = 0;
  view->window = 8;
  view->groups.push_back({});
  view->luns.push_back({{0}, target.unit});
  auto all = std::make_shared<TargetsView>();
  all->targets.push_back(view);
  target.sessions.set_targets(all);
  int ends[2];
  CHECK(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) == 0);
  UniqueFd mine(ends[0]);
  Admission admission{.discovery = (choice & 0x80) != 0,
                      .target = view,
                      .initiator_name = "iqn.2025-11.test:fuzz",
                      .remote = "127.0.0.1:1",
                      .local = "127.0.0.1:3260",
                      .parameters = agreed};
  if (admission.discovery) admission.target = nullptr;
  bool begun = false;
  target.run(begin(target, std::move(admission), UniqueFd(ends[1])), begun);

  std::vector<std::byte> answers;
  std::array<std::byte, 65536> piece;
  const auto drain = [&] {
    target.poll();
    for (;;) {
      const ssize_t count = ::recv(mine.get(), piece.data(), piece.size(), MSG_DONTWAIT);
      if (count <= 0) return;
      answers.insert(answers.end(), piece.begin(), piece.begin() + count);
      target.poll();
    }
  };
  auto rest = input.bytes;
  while (!rest.empty()) {
    const auto part = rest.first(std::min<std::size_t>(rest.size(), 777));
    const ssize_t sent = ::send(mine.get(), part.data(), part.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0) break;
    rest = rest.subspan(static_cast<std::size_t>(sent));
    drain();
  }
  drain();
  if ((choice & 0x80) == 0) check_answers(answers, agreed);
  mine.reset();
  bool closed = false;
  target.run(target.sessions.close(std::chrono::milliseconds(0)), closed);
  bool unit_closed = false;
  target.unit->close([&] { unit_closed = true; });
  while (!unit_closed) target.poll();
  target.poll();
  CHECK(target.shard.buffers().bytes_out() == 0);
}

}  // namespace mpath::target

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  mpath::target::fuzz_session(mpath::fuzz::Input(data, size));
  return 0;
}
