#include "tests/support/script_target.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <condition_variable>
#include <deque>
#include <list>
#include <map>
#include <mutex>
#include <stdexcept>
#include <system_error>
#include <thread>
#include <utility>

#include "base/bytes.hpp"
#include "wire/chap.hpp"
#include "wire/crc32c.hpp"

namespace mpath::test {

using namespace iscsi;
using SteadyTime = std::chrono::steady_clock::time_point;
using Bytes = std::vector<std::byte>;

namespace {

constexpr std::pair<Step, const char*> step_names[] = {
    {Step::accept, "accept"},
    {Step::login_request, "login_request"},
    {Step::login_response, "login_response"},
    {Step::text_request, "text_request"},
    {Step::text_response, "text_response"},
    {Step::command, "command"},
    {Step::response, "response"},
    {Step::data_in, "data_in"},
    {Step::data_out, "data_out"},
    {Step::ready, "ready"},
    {Step::nop_out, "nop_out"},
    {Step::task_request, "task_request"},
    {Step::logout, "logout"},
};
constexpr std::pair<Action, const char*> action_names[] = {
    {Action::close, "close"},
    {Action::reset, "reset"},
    {Action::hang, "hang"},
    {Action::silence, "silence"},
    {Action::garbage, "garbage"},
    {Action::reject, "reject"},
    {Action::bad_status, "bad_status"},
    {Action::delay, "delay"},
    {Action::hold, "hold"},
    {Action::no_sense, "no_sense"},
    {Action::short_residual, "short_residual"},
    {Action::short_silent, "short_silent"},
    {Action::wrong_stat_sn, "wrong_stat_sn"},
    {Action::zero_segment, "zero_segment"},
    {Action::wrong_itt, "wrong_itt"},
    {Action::nop_in, "nop_in"},
    {Action::async_event, "async_event"},
};

constexpr std::uint32_t stat_sn_skew = 1000;
constexpr std::uint32_t unknown_tag = 0xdeadbeef;
constexpr std::size_t transfer_bytes_max = std::size_t{64} << 20;
constexpr std::array chap_algorithms = {ChapAlgorithm::md5};  // what every initiator knows

[[noreturn]] void throw_errno(const char* what) {
  throw std::system_error(errno, std::generic_category(), what);
}

struct Task {
  ScsiCommand pdu;
  Result<scsi::Command> command = std::unexpected(error_code{});
  Bytes data;  // data-out
  std::size_t received = 0;
  std::size_t asked = 0;  // data-out up to here was sent unasked or is covered by an R2T
  std::uint32_t ttt = reserved_tag;
  std::uint32_t r2t_sn = 0;
  bool held = false;
  bool data_out_seen = false;
  std::size_t seen = 0;  // index of its SeenCommand
};

// One thing on its way out.
struct Outgoing {
  SteadyTime due;
  Bytes bytes;
};

enum class End : std::uint8_t { none, fin_when_sent, reset_when_sent, reset_now, fin_now };
enum class Chap : std::uint8_t { idle, method_agreed, challenged, done };

struct Connection {
  Connection(int socket, std::size_t at, Negotiation keys) : fd(socket), portal(at), negotiation(std::move(keys)) {}

  int fd;
  std::size_t portal;
  Bytes in;
  std::deque<Outgoing> out;
  bool silent = false;
  End end = End::none;
  // What a fault asks of the PDUs sent while one PDU is handled.
  std::chrono::milliseconds delay{0};
  std::uint32_t skew = 0;
  bool wrong_itt = false;
  std::optional<Action> cut;  // half of the next PDU, then this

  Negotiation negotiation;
  Parameters parameters;
  Bytes login_text;       // of continued requests
  KeyValues login_queue;  // for continued responses
  bool named = false;     // the first login request was read
  bool declared = false;  // our operational keys are out
  bool full_feature = false;
  bool discovery = false;
  Chap chap = Chap::idle;
  std::uint8_t chap_id = 0;
  Bytes challenge;
  std::string initiator_name;
  std::string target_name;
  Isid isid{};
  std::uint16_t tsih = 0;

  std::uint32_t stat_sn = 1;
  std::uint32_t exp_cmd_sn = 0;
  std::uint32_t next_ttt = 1;
  std::map<std::uint32_t, Task> tasks;
  std::optional<scsi::Sense> attention;
};

struct Listener {
  int fd = -1;
  Portal portal;
  bool silent = false;
  bool listening = true;
};

struct ArmedFault {
  Fault fault;
  unsigned reached = 0;
};

template <typename Block>
SeenCommand* fill_range(SeenCommand& seen, const Block& block) {
  seen.lba = block.lba;
  if constexpr (requires { block.blocks; }) seen.blocks = block.blocks;
  if constexpr (requires { block.fua; }) seen.fua = block.fua;
  return &seen;
}

void fill(SeenCommand& seen, const scsi::Command& command) {
  std::visit(
      [&seen](const auto& c) {
        if constexpr (requires { c.lba; }) fill_range(seen, c);
      },
      command);
}

Bytes sense_segment(const ScsiAnswer& answer) {
  if (!answer.sense) return {};
  const auto sense = scsi::encode_sense(*answer.sense);
  Bytes segment(2 + sense.length);
  Writer w(segment);
  w.u16(sense.length);
  w.bytes(sense.view());
  return segment;
}

}  // namespace

const char* name(Step step) {
  for (const auto& [value, text] : step_names) {
    if (value == step) return text;
  }
  return "?";
}

const char* name(Action action) {
  for (const auto& [value, text] : action_names) {
    if (value == action) return text;
  }
  return "?";
}

std::string name(const Fault& fault) {
  return fmt::format("{}:{}:{}", name(fault.step), fault.nth, name(fault.action));
}

Fault parse_fault(std::string_view text) {
  const auto first = text.find(':');
  const auto second = text.find(':', first + 1);
  if (first == std::string_view::npos || second == std::string_view::npos)
    throw std::invalid_argument(std::string(text));
  Fault fault;
  const auto step = std::ranges::find(step_names, text.substr(0, first),
                                      [](const auto& row) { return std::string_view(row.second); });
  const auto action = std::ranges::find(action_names, text.substr(second + 1),
                                        [](const auto& row) { return std::string_view(row.second); });
  const auto number = text.substr(first + 1, second - first - 1);
  const auto parsed = std::from_chars(number.data(), number.data() + number.size(), fault.nth);
  if (step == std::end(step_names) || action == std::end(action_names) || parsed.ec != std::errc{}) {
    throw std::invalid_argument(std::string(text));
  }
  fault.step = step->first;
  fault.action = action->first;
  return fault;
}

std::vector<Fault> login_sweep() {
  std::vector<Fault> faults;
  const auto add = [&faults](Step step, unsigned nth, std::initializer_list<Action> actions) {
    for (const Action action : actions) faults.push_back({.step = step, .nth = nth, .action = action});
  };
  add(Step::accept, 1, {Action::close, Action::reset, Action::silence, Action::garbage});
  for (const unsigned nth : {1U, 2U}) {
    add(Step::login_request, nth,
        {Action::close, Action::reset, Action::silence, Action::garbage, Action::reject, Action::bad_status});
    add(Step::login_response, nth, {Action::close, Action::reset, Action::silence, Action::wrong_itt});
  }
  add(Step::login_response, 1, {Action::zero_segment});
  add(Step::text_request, 1, {Action::close, Action::reset, Action::silence, Action::garbage, Action::reject});
  add(Step::text_response, 1, {Action::close, Action::reset, Action::silence, Action::wrong_itt});
  add(Step::logout, 1, {Action::close, Action::reset, Action::silence, Action::garbage, Action::reject});
  return faults;
}

class ScriptTarget::Loop {
 public:
  explicit Loop(ScriptConfig config);
  ~Loop();

  // Runs `action` on the loop's thread, between two PDUs, and waits for it.
  template <typename Function>
  void call(Function action) {
    std::unique_lock lock(mutex_);
    actions_.push_back(std::move(action));
    const std::size_t ticket = ++calls_made_;
    wake();
    changed_.wait(lock, [&] { return calls_done_ >= ticket || stopped_; });
  }

  // Owned by the loop's thread; others hold the mutex to look.
  const ScriptConfig config_;
  std::vector<ScriptDisk> disks_;
  std::vector<Listener> listeners_;
  std::list<Connection> connections_;
  std::vector<ArmedFault> faults_;
  Record record_;
  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;

  void apply_listening(Listener& listener, bool on);
  void send_nop_in(Connection& c);
  void send_async(Connection& c, AsyncEvent event, const scsi::Sense& sense);
  void run_task(Connection& c, std::uint32_t itt);

 private:
  void run();
  void wake() const;
  int make_socket(const Portal& portal);
  int poll_timeout(SteadyTime now) const;
  void accept_all(std::size_t portal);
  void receive(Connection& c);
  void flush(Connection& c, SteadyTime now);
  void close_connection(Connection& c);
  void abort_tasks(Connection& c);
  void parse(Connection& c);
  void handle(Connection& c, Bhs bhs, const Head& head, std::span<const std::byte> data);

  std::optional<Fault> strike(Step step, std::optional<std::uint8_t> opcode = {});
  // Does what needs no knowledge of the PDU. True: nothing more is to be done for this PDU.
  bool handled_by(Connection& c, const Fault& fault, Bhs bhs);
  // The same for a step whose answer is about to go out: cuts it, or changes it.
  bool prepare_answer(Connection& c, const Fault& fault, Bhs bhs);
  void protocol_error(Connection& c, std::string text);

  template <typename Pdu>
  void send(Connection& c, Pdu pdu, std::span<const std::byte> data, bool takes_stat_sn);
  void enqueue(Connection& c, Bytes bytes);
  void send_reject(Connection& c, RejectReason reason, Bhs bhs);

  void login(Connection& c, Bhs bhs, std::span<const std::byte> data);
  void refuse_login(Connection& c, const LoginRequest& request, LoginStatus status);
  void answer_login(Connection& c, const LoginRequest& request, KeyValues replies, bool transit);
  LoginStatus identify(Connection& c, const LoginRequest& request, std::span<const KeyValue> others,
                       KeyValues& replies);
  LoginStatus authenticate(Connection& c, std::span<const KeyValue> others, KeyValues& replies);
  LoginStatus check_chap(Connection& c, std::span<const KeyValue> others, KeyValues& replies);
  void begin_full_feature(Connection& c);

  bool take_cmd_sn(Connection& c, std::uint32_t cmd_sn, bool immediate);
  void scsi_command(Connection& c, Bhs bhs, std::span<const std::byte> data);
  void data_out(Connection& c, Bhs bhs, std::span<const std::byte> data);
  void continue_write(Connection& c, Task& task);
  ScsiAnswer execute(Connection& c, Task& task);
  void answer(Connection& c, const Task& task, ScsiAnswer answer, std::optional<Action> shortened);
  void send_data_in(Connection& c, const Task& task, const ScsiAnswer& answer, std::uint32_t residual);
  void task_request(Connection& c, Bhs bhs);
  void text_request(Connection& c, Bhs bhs, std::span<const std::byte> data);
  void logout(Connection& c, Bhs bhs);
  void nop_out(Connection& c, Bhs bhs, std::span<const std::byte> data);
  ScriptDisk* find_disk(const LunField& field);
  [[nodiscard]] std::vector<scsi::Lun> luns() const;

  std::vector<std::function<void()>> actions_;
  std::size_t calls_made_ = 0;
  std::size_t calls_done_ = 0;
  bool stopping_ = false;
  bool stopped_ = false;
  int wake_fd_ = -1;
  std::uint16_t next_tsih_ = 1;
  std::uint8_t next_chap_id_ = 1;
  std::thread thread_;
};

// --- life ----------------------------------------------------------------------------------------------------------

ScriptTarget::Loop::Loop(ScriptConfig config) : config_(std::move(config)) {
  for (const DiskConfig& disk : config_.disks) disks_.emplace_back(disk);
  wake_fd_ = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (wake_fd_ < 0) throw_errno("eventfd");
  for (const PortalConfig& portal : config_.portals) {
    Listener listener{.portal = {portal.address, portal.port, portal.group}};
    listener.fd = make_socket(listener.portal);
    sockaddr_in address{};
    socklen_t size = sizeof address;
    if (::getsockname(listener.fd, reinterpret_cast<sockaddr*>(&address), &size) != 0) throw_errno("getsockname");
    listener.portal.port = ntohs(address.sin_port);
    if (::listen(listener.fd, 64) != 0) throw_errno("listen");
    listeners_.push_back(std::move(listener));
  }
  thread_ = std::thread([this] { run(); });
}

ScriptTarget::Loop::~Loop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake();
  thread_.join();
  for (Connection& c : connections_) ::close(c.fd);
  for (const Listener& listener : listeners_) ::close(listener.fd);
  ::close(wake_fd_);
}

void ScriptTarget::Loop::wake() const {
  const std::uint64_t one = 1;
  [[maybe_unused]] const auto written = ::write(wake_fd_, &one, sizeof one);
}

int ScriptTarget::Loop::make_socket(const Portal& portal) {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) throw_errno("socket");
  const int on = 1;
  ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(portal.port);
  if (::inet_pton(AF_INET, portal.address.c_str(), &address.sin_addr) != 1) throw std::invalid_argument(portal.address);
  if (::bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) throw_errno("bind");
  return fd;
}

// A bound socket that does not listen refuses connections and keeps the port.
void ScriptTarget::Loop::apply_listening(Listener& listener, bool on) {
  if (listener.listening == on) return;
  listener.listening = on;
  if (on) {
    if (::listen(listener.fd, 64) != 0) throw_errno("listen");
    return;
  }
  ::close(listener.fd);
  listener.fd = make_socket(listener.portal);
}

int ScriptTarget::Loop::poll_timeout(SteadyTime now) const {
  int timeout = -1;
  for (const Connection& c : connections_) {
    if (c.out.empty() || c.out.front().due <= now) continue;
    const auto wait = std::chrono::ceil<std::chrono::milliseconds>(c.out.front().due - now).count();
    timeout = timeout < 0 ? static_cast<int>(wait) : std::min(timeout, static_cast<int>(wait));
  }
  return timeout;
}

void ScriptTarget::Loop::run() {
  std::vector<pollfd> polled;
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    const auto now = std::chrono::steady_clock::now();
    polled.clear();
    polled.push_back({.fd = wake_fd_, .events = POLLIN, .revents = 0});
    for (const Listener& listener : listeners_) {
      const bool open = listener.listening && !listener.silent;
      polled.push_back({.fd = open ? listener.fd : -1, .events = POLLIN, .revents = 0});
    }
    for (const Connection& c : connections_) {
      const bool deaf = c.silent || listeners_[c.portal].silent;
      const bool sending = !c.out.empty() && c.out.front().due <= now;
      const auto events = static_cast<short>((c.end == End::none ? POLLIN : 0) | (sending ? POLLOUT : 0));
      polled.push_back({.fd = deaf ? -1 : c.fd, .events = events, .revents = 0});
    }
    const int timeout = poll_timeout(now);
    lock.unlock();
    ::poll(polled.data(), polled.size(), timeout);
    lock.lock();

    std::uint64_t count = 0;
    [[maybe_unused]] const auto drained = ::read(wake_fd_, &count, sizeof count);
    std::size_t at = 1 + listeners_.size();
    for (Connection& c : connections_) {
      if ((polled[at++].revents & (POLLIN | POLLERR | POLLHUP)) != 0 && c.end == End::none) receive(c);
    }
    for (std::size_t i = 0; i < listeners_.size(); ++i) {
      if ((polled[1 + i].revents & POLLIN) != 0) accept_all(i);
    }
    const auto actions = std::exchange(actions_, {});
    for (const auto& action : actions) action();
    for (Connection& c : connections_) {
      const bool deaf = c.silent || listeners_[c.portal].silent;
      if (!deaf || c.end == End::reset_now || c.end == End::fin_now) flush(c, std::chrono::steady_clock::now());
    }
    connections_.remove_if([](const Connection& c) { return c.fd < 0; });
    calls_done_ += actions.size();
    changed_.notify_all();
  }
  stopped_ = true;
  changed_.notify_all();
}

void ScriptTarget::Loop::accept_all(std::size_t portal) {
  for (;;) {
    const int fd = ::accept4(listeners_[portal].fd, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) return;
    const int on = 1;
    ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    ++record_.connections;
    const Wishes wishes{.header_digests = config_.header_digests,
                        .data_digests = config_.data_digests,
                        .receive_segment_max = config_.segment_max,
                        .initial_r2t = config_.initial_r2t,
                        .immediate_data = config_.immediate_data,
                        .max_burst = config_.max_burst,
                        .first_burst = config_.first_burst,
                        .time2wait = 0};
    Connection& c = connections_.emplace_back(fd, portal, Negotiation(Side::target, wishes));
    static constexpr std::array<std::byte, bhs_bytes> no_pdu{};
    if (const auto fault = strike(Step::accept)) handled_by(c, *fault, no_pdu);
  }
}

void ScriptTarget::Loop::receive(Connection& c) {
  std::array<std::byte, 65536> buffer;
  for (;;) {
    const ssize_t count = ::recv(c.fd, buffer.data(), buffer.size(), 0);
    if (count > 0) {
      c.in.insert(c.in.end(), buffer.begin(), buffer.begin() + count);
      if (static_cast<std::size_t>(count) == buffer.size()) continue;
    } else if (count == 0 || (errno != EAGAIN && errno != EINTR)) {
      parse(c);
      close_connection(c);
      return;
    }
    break;
  }
  parse(c);
}

void ScriptTarget::Loop::flush(Connection& c, SteadyTime now) {
  if (c.fd < 0) return;
  while (!c.out.empty() && c.out.front().due <= now && c.end != End::reset_now && c.end != End::fin_now) {
    Bytes& bytes = c.out.front().bytes;
    const ssize_t count = ::send(c.fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (count < 0) {
      if (errno == EAGAIN) return;
      close_connection(c);
      return;
    }
    if (static_cast<std::size_t>(count) < bytes.size()) {
      bytes.erase(bytes.begin(), bytes.begin() + count);
      return;
    }
    c.out.pop_front();
  }
  const bool sent = c.out.empty();
  switch (c.end) {
    case End::none:
      return;
    case End::fin_when_sent:
    case End::reset_when_sent:
      if (!sent) return;
      break;
    case End::fin_now:
    case End::reset_now:
      break;
  }
  close_connection(c);
}

void ScriptTarget::Loop::close_connection(Connection& c) {
  if (c.fd < 0) return;
  if (c.end == End::reset_now || c.end == End::reset_when_sent) {
    const linger at_once{.l_onoff = 1, .l_linger = 0};
    ::setsockopt(c.fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
  }
  ::close(c.fd);
  c.fd = -1;
  c.full_feature = false;
  abort_tasks(c);
  ++record_.disconnections;
}

void ScriptTarget::Loop::abort_tasks(Connection& c) {
  record_.tasks_aborted += static_cast<unsigned>(c.tasks.size());
  c.tasks.clear();
}

// --- faults --------------------------------------------------------------------------------------------------------

std::optional<Fault> ScriptTarget::Loop::strike(Step step, std::optional<std::uint8_t> opcode) {
  std::optional<Fault> struck;
  for (ArmedFault& armed : faults_) {
    const Fault& fault = armed.fault;
    if (fault.step != step) continue;
    if (fault.opcode && opcode && std::to_underlying(*fault.opcode) != *opcode) continue;
    ++armed.reached;
    const bool in_reach = armed.reached >= fault.nth && (fault.times == 0 || armed.reached < fault.nth + fault.times);
    if (in_reach && !struck) struck = fault;
  }
  if (struck) ++record_.faults_fired;
  return struck;
}

bool ScriptTarget::Loop::handled_by(Connection& c, const Fault& fault, Bhs bhs) {
  switch (fault.action) {
    case Action::close:
      c.end = End::fin_when_sent;
      return true;
    case Action::reset:
      c.end = End::reset_when_sent;
      return true;
    case Action::hang:
      return true;
    case Action::silence:
      c.silent = true;
      return true;
    case Action::garbage: {
      Bytes noise(512);
      std::uint32_t state = 12345;
      for (std::byte& byte : noise) {
        state = state * 1664525 + 1013904223;
        byte = static_cast<std::byte>(state >> 24);
      }
      noise[0] = std::byte{0x3e};  // no opcode of anybody
      enqueue(c, std::move(noise));
      return true;
    }
    case Action::reject:
      send_reject(c, RejectReason::protocol_error, bhs);
      return true;
    case Action::delay:
      c.delay = fault.delay;
      return false;
    case Action::wrong_stat_sn:
      c.skew = stat_sn_skew;
      return false;
    case Action::wrong_itt:
      c.wrong_itt = true;
      return false;
    case Action::nop_in:
      send_nop_in(c);
      return false;
    case Action::async_event:
      send_async(c, fault.event, fault.sense);
      return false;
    case Action::bad_status:
    case Action::hold:
    case Action::no_sense:
    case Action::short_residual:
    case Action::short_silent:
    case Action::zero_segment:
      return false;
  }
  return false;
}

bool ScriptTarget::Loop::prepare_answer(Connection& c, const Fault& fault, Bhs bhs) {
  switch (fault.action) {
    case Action::close:
    case Action::reset:
    case Action::silence:
      c.cut = fault.action;
      return false;
    case Action::hang:
    case Action::garbage:
    case Action::reject:
    case Action::bad_status:
    case Action::delay:
    case Action::hold:
    case Action::no_sense:
    case Action::short_residual:
    case Action::short_silent:
    case Action::wrong_stat_sn:
    case Action::zero_segment:
    case Action::wrong_itt:
    case Action::nop_in:
    case Action::async_event:
      return handled_by(c, fault, bhs);
  }
  return false;
}

void ScriptTarget::Loop::protocol_error(Connection& c, std::string text) {
  ++record_.protocol_errors;
  record_.errors.push_back(std::move(text));
  c.end = End::fin_when_sent;
}

// --- PDUs ----------------------------------------------------------------------------------------------------------

void ScriptTarget::Loop::enqueue(Connection& c, Bytes bytes) {
  if (c.silent) return;
  const auto due = std::chrono::steady_clock::now() + c.delay;
  if (const auto cut = std::exchange(c.cut, std::nullopt)) {
    bytes.resize(bytes.size() / 2);
    c.out.push_back({.due = due, .bytes = std::move(bytes)});
    if (*cut == Action::silence) {
      flush(c, std::chrono::steady_clock::now());
      c.silent = true;
    } else {
      c.end = *cut == Action::reset ? End::reset_when_sent : End::fin_when_sent;
    }
    return;
  }
  if (c.end != End::none) return;
  c.out.push_back({.due = due, .bytes = std::move(bytes)});
}

template <typename Pdu>
void ScriptTarget::Loop::send(Connection& c, Pdu pdu, std::span<const std::byte> data, bool takes_stat_sn) {
  const std::uint32_t in_use = static_cast<std::uint32_t>(c.tasks.size());
  pdu.stat_sn = c.stat_sn + std::exchange(c.skew, 0);
  pdu.exp_cmd_sn = c.exp_cmd_sn;
  pdu.max_cmd_sn = c.exp_cmd_sn + config_.window - 1 - std::min(in_use, config_.window);
  if (takes_stat_sn) ++c.stat_sn;
  if constexpr (requires { pdu.data_length; }) pdu.data_length = static_cast<std::uint32_t>(data.size());
  if constexpr (requires { pdu.itt; }) {
    if (std::exchange(c.wrong_itt, false)) pdu.itt = unknown_tag;
  }
  const bool header_digest = c.full_feature && c.parameters.header_digest;
  const bool data_digest = c.full_feature && c.parameters.data_digest;
  const Layout layout =
      pdu_layout({.data_length = static_cast<std::uint32_t>(data.size())}, header_digest, data_digest);
  Bytes bytes(layout.total);
  const std::span<std::byte> all(bytes);
  encode(pdu, all.first<bhs_bytes>());
  Writer w(all.subspan(bhs_bytes));
  if (header_digest) w.u32_le(crc32c(all.first(bhs_bytes)));
  w.bytes(data);
  w.skip(padded(data.size()) - data.size());
  if (data_digest && !data.empty()) w.u32_le(crc32c(all.subspan(layout.data_at, padded(data.size()))));
  enqueue(c, std::move(bytes));
}

void ScriptTarget::Loop::send_reject(Connection& c, RejectReason reason, Bhs bhs) {
  send(c, Reject{.reason = reason}, bhs, true);
}

void ScriptTarget::Loop::send_nop_in(Connection& c) {
  send(c, NopIn{.ttt = c.next_ttt++}, {}, false);
}

void ScriptTarget::Loop::send_async(Connection& c, AsyncEvent event, const scsi::Sense& sense) {
  AsyncMessage message{.event = event, .parameter3 = 5};
  const bool with_sense = event == AsyncEvent::scsi_event;
  send(c, message, with_sense ? sense_segment(check_condition(sense)) : Bytes{}, true);
}

void ScriptTarget::Loop::parse(Connection& c) {
  std::size_t at = 0;
  while (c.end == End::none && !c.silent && c.in.size() - at >= bhs_bytes) {
    const auto rest = std::span<const std::byte>(c.in).subspan(at);
    const auto bhs = rest.first<bhs_bytes>();
    const auto head = decode_head(bhs);
    if (!head) {
      protocol_error(c, "unknown opcode");
      break;
    }
    const bool header_digest = c.full_feature && c.parameters.header_digest;
    const bool data_digest = c.full_feature && c.parameters.data_digest;
    const Layout layout = pdu_layout(*head, header_digest, data_digest);
    if (head->data_length > config_.segment_max) {
      protocol_error(c, fmt::format("{} with {} bytes of data", iscsi::name(head->opcode), head->data_length));
      break;
    }
    if (rest.size() < layout.total) break;
    const auto data = rest.subspan(layout.data_at, head->data_length);
    if (header_digest &&
        Reader(rest.subspan(layout.header_bytes)).u32_le() != crc32c(rest.first(layout.header_bytes))) {
      protocol_error(c, "header digest");
      break;
    }
    if (data_digest && !data.empty() &&
        Reader(rest.last(rest.size() - layout.total + digest_bytes)).u32_le() !=
            crc32c(rest.subspan(layout.data_at, padded(data.size())))) {
      protocol_error(c, "data digest");
      break;
    }
    at += layout.total;
    handle(c, bhs, *head, data);
    c.delay = std::chrono::milliseconds{0};
  }
  c.in.erase(c.in.begin(), c.in.begin() + static_cast<std::ptrdiff_t>(at));
}

void ScriptTarget::Loop::handle(Connection& c, Bhs bhs, const Head& head, std::span<const std::byte> data) {
  if (!c.full_feature) {
    if (head.opcode == Opcode::login_request) return login(c, bhs, data);
    return protocol_error(c, fmt::format("{} before login", iscsi::name(head.opcode)));
  }
  switch (head.opcode) {
    case Opcode::nop_out:
      return nop_out(c, bhs, data);
    case Opcode::scsi_command:
      return scsi_command(c, bhs, data);
    case Opcode::task_request:
      return task_request(c, bhs);
    case Opcode::text_request:
      return text_request(c, bhs, data);
    case Opcode::data_out:
      return data_out(c, bhs, data);
    case Opcode::logout_request:
      return logout(c, bhs);
    case Opcode::snack_request:
      return send_reject(c, RejectReason::snack, bhs);
    case Opcode::login_request:
    case Opcode::nop_in:
    case Opcode::scsi_response:
    case Opcode::task_response:
    case Opcode::login_response:
    case Opcode::text_response:
    case Opcode::data_in:
    case Opcode::logout_response:
    case Opcode::ready_to_transfer:
    case Opcode::async_message:
    case Opcode::reject:
      return protocol_error(c, fmt::format("{} in full feature phase", iscsi::name(head.opcode)));
  }
}

// --- login ---------------------------------------------------------------------------------------------------------

void ScriptTarget::Loop::refuse_login(Connection& c, const LoginRequest& request, LoginStatus status) {
  ++record_.logins_refused;
  send(c, LoginResponse{.current = request.current, .isid = request.isid, .itt = request.itt, .status = status}, {},
       true);
  if (c.end == End::none) c.end = End::fin_when_sent;
}

void ScriptTarget::Loop::login(Connection& c, Bhs bhs, std::span<const std::byte> data) {
  const auto request = decode_login_request(bhs);
  if (!request) return protocol_error(c, "login request: " + request.error().message());
  if (const auto fault = strike(Step::login_request)) {
    if (handled_by(c, *fault, bhs)) return;
    if (fault->action == Action::bad_status) return refuse_login(c, *request, fault->login_status);
  }
  c.login_text.insert(c.login_text.end(), data.begin(), data.end());
  if (c.login_text.size() > limits::login_text_bytes_max)
    return refuse_login(c, *request, LoginStatus::initiator_error);
  if (request->continued || !c.login_queue.empty()) return answer_login(c, *request, {}, false);

  const auto pairs = decode_text(std::exchange(c.login_text, {}));
  if (!pairs) {
    ++record_.protocol_errors;
    record_.errors.push_back("login text: " + pairs.error().message());
    return refuse_login(c, *request, LoginStatus::initiator_error);
  }
  auto taken = c.negotiation.take(*pairs);
  if (!taken) {
    ++record_.protocol_errors;
    record_.errors.push_back("login keys: " + taken.error().message());
    return refuse_login(c, *request, LoginStatus::initiator_error);
  }
  KeyValues replies;
  LoginStatus status = c.named ? LoginStatus::success : identify(c, *request, taken->others, replies);
  c.exp_cmd_sn = request->cmd_sn;
  if (status == LoginStatus::success && request->current == Stage::security)
    status = authenticate(c, taken->others, replies);
  const bool proven = !config_.chap || c.chap == Chap::done;
  const bool answering = c.chap == Chap::method_agreed || c.chap == Chap::challenged;
  const bool leaves = request->current == Stage::operational || (request->transit && !answering);
  if (status == LoginStatus::success && !proven && leaves) {
    status = LoginStatus::authentication_failure;
  }
  if (status != LoginStatus::success) return refuse_login(c, *request, status);
  replies.insert(replies.end(), taken->replies.begin(), taken->replies.end());
  if (request->current == Stage::operational && !c.declared) {
    c.declared = true;
    const auto offers = c.negotiation.offers();
    replies.insert(replies.end(), offers.begin(), offers.end());
  }
  answer_login(c, *request, std::move(replies), request->transit && proven);
}

LoginStatus ScriptTarget::Loop::identify(Connection& c, const LoginRequest& request, std::span<const KeyValue> others,
                                         KeyValues& replies) {
  c.named = true;
  c.isid = request.isid;
  if (request.version_min > 0) return LoginStatus::unsupported_version;
  if (request.tsih != 0) return LoginStatus::session_does_not_exist;
  const std::string* initiator = find(others, "InitiatorName");
  if (initiator == nullptr) return LoginStatus::missing_parameter;
  c.initiator_name = *initiator;
  const std::string* type = find(others, "SessionType");
  c.discovery = type != nullptr && *type == "Discovery";
  const auto group = listeners_[c.portal].portal.group;
  if (c.discovery) return LoginStatus::success;
  const std::string* target = find(others, "TargetName");
  if (target == nullptr) return LoginStatus::missing_parameter;
  if (*target != config_.target_name) return LoginStatus::not_found;
  c.target_name = *target;
  replies.push_back({.key = "TargetPortalGroupTag", .value = std::to_string(group)});
  return LoginStatus::success;
}

LoginStatus ScriptTarget::Loop::authenticate(Connection& c, std::span<const KeyValue> others, KeyValues& replies) {
  if (const std::string* methods = find(others, "AuthMethod")) {
    const std::string choice = respond(key_spec(Key::auth_method), *methods, config_.chap ? "CHAP" : "None");
    if (choice == reply_reject) return LoginStatus::authentication_failure;
    replies.push_back({.key = "AuthMethod", .value = choice});
    if (choice == "CHAP") c.chap = Chap::method_agreed;
  }
  if (const std::string* algorithms = find(others, "CHAP_A")) {
    const auto algorithm = choose_chap_algorithm(*algorithms, chap_algorithms);
    if (c.chap != Chap::method_agreed || !algorithm) {
      return LoginStatus::authentication_failure;
    }
    c.chap = Chap::challenged;
    c.chap_id = next_chap_id_++;
    c.challenge.clear();
    for (std::size_t i = 0; i < chap_response_bytes(*algorithm); ++i)
      c.challenge.push_back(static_cast<std::byte>(c.chap_id * 37 + i * 11));
    replies.push_back({.key = "CHAP_A", .value = std::to_string(std::to_underlying(*algorithm))});
    replies.push_back({.key = "CHAP_I", .value = std::to_string(c.chap_id)});
    replies.push_back({.key = "CHAP_C", .value = hex_constant(c.challenge)});
  }
  return find(others, "CHAP_R") != nullptr ? check_chap(c, others, replies) : LoginStatus::success;
}

LoginStatus ScriptTarget::Loop::check_chap(Connection& c, std::span<const KeyValue> others, KeyValues& replies) {
  const std::string* user = find(others, "CHAP_N");
  const auto response = parse_binary(*find(others, "CHAP_R"), chap_response_bytes_max);
  if (c.chap != Chap::challenged || user == nullptr || !response) return LoginStatus::authentication_failure;
  const auto expected = chap_response(ChapAlgorithm::md5, c.chap_id, config_.chap->secret, c.challenge);
  if (*user != config_.chap->name || !equal_in_constant_time(*response, expected))
    return LoginStatus::authentication_failure;
  c.chap = Chap::done;
  const std::string* id = find(others, "CHAP_I");
  const std::string* challenge = find(others, "CHAP_C");
  if (id == nullptr || challenge == nullptr) return LoginStatus::success;
  const auto number = parse_number(*id);
  const auto bytes = parse_binary(*challenge, chap_challenge_bytes_max);
  if (!config_.chap_mutual || !number || *number > 255 || !bytes || *bytes == c.challenge) {
    return LoginStatus::authentication_failure;
  }
  const auto proof = chap_response(ChapAlgorithm::md5, static_cast<std::uint8_t>(*number), config_.chap_mutual->secret, *bytes);
  replies.push_back({.key = "CHAP_N", .value = config_.chap_mutual->name});
  replies.push_back({.key = "CHAP_R", .value = hex_constant(proof)});
  return LoginStatus::success;
}

void ScriptTarget::Loop::answer_login(Connection& c, const LoginRequest& request, KeyValues replies, bool transit) {
  std::array<std::byte, bhs_bytes> bhs{};
  encode(request, bhs);
  if (const auto fault = strike(Step::login_response)) {
    if (prepare_answer(c, *fault, bhs)) return;
    if (fault->action == Action::bad_status) return refuse_login(c, request, fault->login_status);
    if (fault->action == Action::zero_segment) {
      std::erase_if(replies, [](const KeyValue& pair) { return pair.key == "MaxRecvDataSegmentLength"; });
      replies.push_back({.key = "MaxRecvDataSegmentLength", .value = "0"});
    }
  }
  c.login_queue.insert(c.login_queue.end(), replies.begin(), replies.end());
  std::size_t count = c.login_queue.size();
  if (config_.response_keys_a_pdu > 0) count = std::min<std::size_t>(count, config_.response_keys_a_pdu);
  const KeyValues now(c.login_queue.begin(), c.login_queue.begin() + static_cast<std::ptrdiff_t>(count));
  c.login_queue.erase(c.login_queue.begin(), c.login_queue.begin() + static_cast<std::ptrdiff_t>(count));
  const bool more = !c.login_queue.empty();
  // A transit asked for together with the continued text is granted when the initiator asks again.
  const bool passes = transit || (request.transit && !request.continued && !more && replies.empty() && c.declared);
  LoginResponse response{.transit = passes && !more,
                         .continued = more,
                         .current = request.current,
                         .next = request.next,
                         .isid = request.isid,
                         .itt = request.itt};
  const bool done = response.transit && response.next == Stage::full_feature;
  if (done) {
    c.tsih = next_tsih_++;
    response.tsih = c.tsih;
  }
  send(c, response, encode_text(now), true);
  if (done) begin_full_feature(c);
}

void ScriptTarget::Loop::begin_full_feature(Connection& c) {
  SeenLogin seen{.portal = c.portal,
                 .initiator_name = c.initiator_name,
                 .target_name = c.target_name,
                 .isid = c.isid,
                 .tsih = c.tsih,
                 .reinstated = false,
                 .tasks_aborted = 0};
  const auto group = listeners_[c.portal].portal.group;
  for (Connection& old : connections_) {
    const bool same_nexus = &old != &c && old.full_feature && !old.discovery && !c.discovery && old.isid == c.isid &&
                            old.initiator_name == c.initiator_name && listeners_[old.portal].portal.group == group;
    if (!same_nexus) continue;
    seen.reinstated = true;
    seen.tasks_aborted += static_cast<unsigned>(old.tasks.size());
    abort_tasks(old);
    old.full_feature = false;
    old.end = End::reset_now;
  }
  c.full_feature = true;
  c.parameters = c.negotiation.finish();
  record_.logins.push_back(std::move(seen));
}

// --- full feature phase --------------------------------------------------------------------------------------------

bool ScriptTarget::Loop::take_cmd_sn(Connection& c, std::uint32_t cmd_sn, bool immediate) {
  if (immediate) return true;
  if (cmd_sn != c.exp_cmd_sn) {
    ++record_.cmd_sn_gaps;
    record_.errors.push_back(fmt::format("CmdSN {} where {} was due", cmd_sn, c.exp_cmd_sn));
    if (sn_before(cmd_sn, c.exp_cmd_sn)) return false;
  }
  c.exp_cmd_sn = cmd_sn + 1;
  return true;
}

std::vector<scsi::Lun> ScriptTarget::Loop::luns() const {
  std::vector<scsi::Lun> all;
  for (const ScriptDisk& disk : disks_) all.push_back({disk.config.lun});
  return all;
}

ScriptDisk* ScriptTarget::Loop::find_disk(const LunField& field) {
  const auto lun = scsi::parse_lun_field(field);
  if (!lun) return nullptr;
  const auto found = std::ranges::find(disks_, lun->value, [](const ScriptDisk& disk) { return disk.config.lun; });
  return found == disks_.end() ? nullptr : &*found;
}

void ScriptTarget::Loop::scsi_command(Connection& c, Bhs bhs, std::span<const std::byte> data) {
  const auto pdu = decode_scsi_command(bhs);
  if (!pdu) return protocol_error(c, "SCSI command");
  if (c.discovery) return send_reject(c, RejectReason::protocol_error, bhs);
  if (!take_cmd_sn(c, pdu->cmd_sn, pdu->immediate)) return;
  if (c.tasks.contains(pdu->itt)) return protocol_error(c, "task tag in use");
  if (pdu->write && pdu->expected_length > transfer_bytes_max) return protocol_error(c, "transfer too long");
  if (!data.empty() && (!c.parameters.immediate_data || !pdu->write))
    return protocol_error(c, "immediate data not agreed");
  if (!pdu->final && c.parameters.initial_r2t) return protocol_error(c, "unsolicited data not agreed");
  if (data.size() > pdu->expected_length) return protocol_error(c, "more data than announced");

  const auto lun = scsi::parse_lun_field(pdu->lun);
  SeenCommand seen{.portal = c.portal,
                   .isid = c.isid,
                   .lun = lun ? lun->value : ~std::uint64_t{0},
                   .opcode = std::to_integer<std::uint8_t>(pdu->cdb[0]),
                   .lba = 0,
                   .blocks = 0,
                   .fua = false,
                   .executed = false};
  Task& task = c.tasks[pdu->itt];
  task.pdu = *pdu;
  task.command = scsi::parse_cdb(pdu->cdb);
  if (task.command) fill(seen, *task.command);
  task.seen = record_.commands.size();
  record_.commands.push_back(seen);
  if (!pdu->write) return run_task(c, pdu->itt);
  task.data.resize(pdu->expected_length);
  std::ranges::copy(data, task.data.begin());
  task.received = data.size();
  task.asked = pdu->final ? data.size() : std::min<std::size_t>(c.parameters.first_burst, pdu->expected_length);
  if (pdu->final) continue_write(c, task);
}

void ScriptTarget::Loop::data_out(Connection& c, Bhs bhs, std::span<const std::byte> data) {
  const auto pdu = decode_data_out(bhs);
  if (!pdu) return protocol_error(c, "Data-Out");
  const auto found = c.tasks.find(pdu->itt);
  if (found == c.tasks.end()) return;  // of a task that was aborted
  Task& task = found->second;
  if (!std::exchange(task.data_out_seen, true)) {
    if (const auto fault = strike(Step::data_out, std::to_integer<std::uint8_t>(task.pdu.cdb[0]))) {
      if (handled_by(c, *fault, bhs)) return;
    }
  }
  const std::size_t end = std::size_t{pdu->buffer_offset} + data.size();
  if (end > task.asked || pdu->buffer_offset != task.received)
    return protocol_error(c, "Data-Out where none was asked for");
  if (pdu->ttt != task.ttt) return protocol_error(c, "Data-Out with another transfer tag");
  std::ranges::copy(data, task.data.begin() + pdu->buffer_offset);
  task.received = end;
  if (pdu->final) continue_write(c, task);
}

void ScriptTarget::Loop::continue_write(Connection& c, Task& task) {
  if (task.received >= task.data.size()) return run_task(c, task.pdu.itt);
  if (const auto fault = strike(Step::ready, std::to_integer<std::uint8_t>(task.pdu.cdb[0]))) {
    std::array<std::byte, bhs_bytes> bhs{};
    encode(task.pdu, bhs);
    if (prepare_answer(c, *fault, bhs)) return;
  }
  const std::size_t length = std::min<std::size_t>(c.parameters.max_burst, task.data.size() - task.received);
  task.ttt = c.next_ttt++;
  task.asked = task.received + length;
  send(c,
       ReadyToTransfer{.lun = task.pdu.lun,
                       .itt = task.pdu.itt,
                       .ttt = task.ttt,
                       .r2t_sn = task.r2t_sn++,
                       .buffer_offset = static_cast<std::uint32_t>(task.received),
                       .desired_length = static_cast<std::uint32_t>(length)},
       {}, false);
}

ScsiAnswer ScriptTarget::Loop::execute(Connection& c, Task& task) {
  const auto opcode = std::to_integer<std::uint8_t>(task.pdu.cdb[0]);
  if (c.attention && scsi::tells_unit_attention(static_cast<scsi::Opcode>(opcode))) return check_condition(*std::exchange(c.attention, std::nullopt));
  if (!task.command) return check_condition(scsi::sense::invalid_opcode);
  ScriptDisk* disk = find_disk(task.pdu.lun);
  if (disk == nullptr) return ScriptDisk::execute_absent(*task.command, luns());
  if (task.data.size() < disk->data_out_bytes(*task.command)) return check_condition(scsi::sense::invalid_field_in_cdb);
  const auto data = std::span<const std::byte>(task.data).first(disk->data_out_bytes(*task.command));
  ScsiAnswer answer = disk->execute(*task.command, data, luns());
  record_.commands[task.seen].executed = answer.status != scsi::Status::check_condition;
  return answer;
}

void ScriptTarget::Loop::run_task(Connection& c, std::uint32_t itt) {
  const auto found = c.tasks.find(itt);
  if (found == c.tasks.end()) return;
  Task& task = found->second;
  const auto opcode = std::to_integer<std::uint8_t>(task.pdu.cdb[0]);
  std::array<std::byte, bhs_bytes> bhs{};
  encode(task.pdu, bhs);
  std::optional<ScsiAnswer> made;
  std::optional<Action> shortened;
  const auto fault = task.held ? std::nullopt : strike(Step::command, opcode);
  if (fault) {
    if (fault->action == Action::hold || fault->action == Action::hang) {
      task.held = fault->action == Action::hold;
      return;
    }
    if (handled_by(c, *fault, bhs)) {
      c.tasks.erase(found);
      return;
    }
    if (fault->action == Action::bad_status) {
      made = ScsiAnswer{.status = fault->status};
      if (fault->status == scsi::Status::check_condition) made->sense = scsi::SenseData{.sense = fault->sense};
    }
    if (fault->action == Action::no_sense) made = ScsiAnswer{.status = scsi::Status::check_condition};
    if (fault->action == Action::short_residual || fault->action == Action::short_silent) shortened = fault->action;
  }
  if (!made) made = execute(c, task);
  const Task finished = std::move(task);
  c.tasks.erase(found);
  if (const auto late = strike(Step::response, opcode)) {
    if (prepare_answer(c, *late, bhs)) return;
    if (late->action == Action::bad_status) {
      made = ScsiAnswer{.status = late->status};
      if (late->status == scsi::Status::check_condition) made->sense = scsi::SenseData{.sense = late->sense};
    }
  }
  answer(c, finished, *std::move(made), shortened);
}

void ScriptTarget::Loop::answer(Connection& c, const Task& task, ScsiAnswer answer, std::optional<Action> shortened) {
  const std::uint32_t expected = task.pdu.expected_length;
  if (!task.pdu.read) answer.data.clear();
  if (answer.data.size() > expected) answer.data.resize(expected);
  if (shortened) answer.data.resize(answer.data.size() / 2);
  std::uint32_t residual = 0;
  if (task.pdu.read) residual = expected - static_cast<std::uint32_t>(answer.data.size());
  if (shortened == Action::short_silent) residual = 0;
  if (!answer.data.empty()) send_data_in(c, task, answer, residual);
  if (!answer.data.empty() && answer.status == scsi::Status::good) return;
  send(c,
       ScsiResponse{
           .residual_underflow = residual > 0, .status = answer.status, .itt = task.pdu.itt, .residual = residual},
       sense_segment(answer), true);
}

void ScriptTarget::Loop::send_data_in(Connection& c, const Task& task, const ScsiAnswer& answer,
                                      std::uint32_t residual) {
  if (const auto fault = strike(Step::data_in, std::to_integer<std::uint8_t>(task.pdu.cdb[0]))) {
    std::array<std::byte, bhs_bytes> bhs{};
    encode(task.pdu, bhs);
    if (prepare_answer(c, *fault, bhs)) return;
  }
  const auto data = std::span<const std::byte>(answer.data);
  std::uint32_t data_sn = 0;
  std::size_t burst = 0;
  for (std::size_t at = 0; at < data.size();) {
    const std::size_t length = std::min(
        {std::size_t{c.parameters.send_segment_max}, data.size() - at, std::size_t{c.parameters.max_burst} - burst});
    const bool last = at + length == data.size();
    burst += length;
    const bool burst_ends = burst == c.parameters.max_burst;
    if (burst_ends) burst = 0;
    const bool with_status = last && answer.status == scsi::Status::good;
    send(c,
         DataIn{.final = last || burst_ends,
                .residual_underflow = with_status && residual > 0,
                .has_status = with_status,
                .status = scsi::Status::good,
                .itt = task.pdu.itt,
                .data_sn = data_sn++,
                .buffer_offset = static_cast<std::uint32_t>(at),
                .residual = with_status ? residual : 0},
         data.subspan(at, length), with_status);
    at += length;
  }
}

void ScriptTarget::Loop::task_request(Connection& c, Bhs bhs) {
  const auto pdu = decode_task_request(bhs);
  if (!pdu) return protocol_error(c, "task management request");
  if (!take_cmd_sn(c, pdu->cmd_sn, pdu->immediate)) return;
  record_.task_requests.push_back(pdu->function);
  if (const auto fault = strike(Step::task_request)) {
    if (handled_by(c, *fault, bhs)) return;
  }
  TaskResult result = TaskResult::complete;
  const auto abort_of_lun = [&](Connection& other) {
    record_.tasks_aborted += static_cast<unsigned>(
        std::erase_if(other.tasks, [&](const auto& entry) { return entry.second.pdu.lun == pdu->lun; }));
  };
  switch (pdu->function) {
    case TaskFunction::abort_task:
      if (c.tasks.erase(pdu->referenced_tag) > 0) {
        ++record_.tasks_aborted;
      } else {
        result = TaskResult::no_such_task;
      }
      break;
    case TaskFunction::abort_task_set:
      abort_of_lun(c);
      break;
    case TaskFunction::clear_task_set:
    case TaskFunction::logical_unit_reset:
      if (find_disk(pdu->lun) == nullptr) {
        result = TaskResult::no_such_lun;
        break;
      }
      for (Connection& other : connections_) {
        abort_of_lun(other);
        if (&other != &c && other.full_feature) other.attention = scsi::sense::power_on;
      }
      break;
    case TaskFunction::target_warm_reset:
    case TaskFunction::target_cold_reset:
      for (Connection& other : connections_) {
        abort_tasks(other);
        if (other.full_feature) other.attention = scsi::sense::power_on;
      }
      break;
    case TaskFunction::clear_aca:
    case TaskFunction::task_reassign:
      result = TaskResult::not_supported;
      break;
  }
  send(c, TaskResponse{.result = result, .itt = pdu->itt}, {}, true);
}

void ScriptTarget::Loop::text_request(Connection& c, Bhs bhs, std::span<const std::byte> data) {
  const auto pdu = decode_text_request(bhs);
  if (!pdu) return protocol_error(c, "text request");
  if (!take_cmd_sn(c, pdu->cmd_sn, pdu->immediate)) return;
  ++record_.text_requests;
  if (const auto fault = strike(Step::text_request)) {
    if (handled_by(c, *fault, bhs)) return;
  }
  const auto pairs = decode_text(data);
  if (!pairs) return send_reject(c, RejectReason::protocol_error, bhs);
  KeyValues replies;
  for (const KeyValue& pair : *pairs) {
    if (pair.key != "SendTargets") {
      replies.push_back({.key = pair.key, .value = std::string(reply_not_understood)});
      continue;
    }
    const bool wanted = pair.value == "All" || pair.value.empty() || pair.value == config_.target_name;
    if (!wanted) continue;
    DiscoveredTarget target{.name = config_.target_name};
    for (const Listener& listener : listeners_) {
      const Portal& portal = listener.portal;
      target.addresses.push_back({.host = portal.address, .port = portal.port, .portal_group = portal.group});
    }
    for (KeyValue& line : format_send_targets(std::span(&target, 1))) replies.push_back(std::move(line));
  }
  if (const auto fault = strike(Step::text_response)) {
    if (prepare_answer(c, *fault, bhs)) return;
  }
  send(c, TextResponse{.itt = pdu->itt}, encode_text(replies), true);
}

void ScriptTarget::Loop::logout(Connection& c, Bhs bhs) {
  const auto pdu = decode_logout_request(bhs);
  if (!pdu) return protocol_error(c, "logout request");
  if (!take_cmd_sn(c, pdu->cmd_sn, pdu->immediate)) return;
  ++record_.logouts;
  if (const auto fault = strike(Step::logout)) {
    if (handled_by(c, *fault, bhs)) return;
  }
  abort_tasks(c);
  send(c, LogoutResponse{.itt = pdu->itt}, {}, true);
  if (c.end == End::none) c.end = End::fin_when_sent;
}

void ScriptTarget::Loop::nop_out(Connection& c, Bhs bhs, std::span<const std::byte> data) {
  const auto pdu = decode_nop_out(bhs);
  if (!pdu) return protocol_error(c, "NOP-Out");
  if (!take_cmd_sn(c, pdu->cmd_sn, pdu->immediate)) return;
  if (pdu->itt == reserved_tag) {
    if (pdu->ttt != reserved_tag) ++record_.nops_answered;
    return;
  }
  ++record_.nops_out;
  if (const auto fault = strike(Step::nop_out)) {
    if (handled_by(c, *fault, bhs)) return;
  }
  const auto echo = data.first(std::min<std::size_t>(data.size(), c.parameters.send_segment_max));
  send(c, NopIn{.lun = pdu->lun, .itt = pdu->itt}, echo, true);
}

// --- the handle ----------------------------------------------------------------------------------------------------

ScriptTarget::ScriptTarget(ScriptConfig config) : loop_(std::make_unique<Loop>(std::move(config))) {}
ScriptTarget::~ScriptTarget() = default;

std::vector<Portal> ScriptTarget::portals() const {
  const std::lock_guard lock(loop_->mutex_);
  std::vector<Portal> all;
  for (const Listener& listener : loop_->listeners_) all.push_back(listener.portal);
  return all;
}

std::string ScriptTarget::portal_text(std::size_t portal) const {
  const Portal at = portals().at(portal);
  return fmt::format("{}:{}", at.address, at.port);
}

const std::string& ScriptTarget::target_name() const {
  return loop_->config_.target_name;
}

void ScriptTarget::add_fault(Fault fault) {
  loop_->call([this, fault] { loop_->faults_.push_back({.fault = fault}); });
}

void ScriptTarget::clear_faults() {
  loop_->call([this] { loop_->faults_.clear(); });
}

void ScriptTarget::set_identity(std::size_t disk, const std::string& naa) {
  loop_->call([this, disk, naa] { loop_->disks_.at(disk).config.naa = naa; });
}

void ScriptTarget::resize(std::size_t disk, std::uint64_t blocks) {
  loop_->call([this, disk, blocks] { loop_->disks_.at(disk).resize(blocks); });
}

void ScriptTarget::set_write_protected(std::size_t disk, bool on) {
  loop_->call([this, disk, on] { loop_->disks_.at(disk).config.write_protected = on; });
}

void ScriptTarget::set_access(std::size_t disk, scsi::AccessState access) {
  loop_->call([this, disk, access] { loop_->disks_.at(disk).config.access = access; });
}

void ScriptTarget::raise_unit_attention(const scsi::Sense& sense) {
  loop_->call([this, sense] {
    for (Connection& c : loop_->connections_) {
      if (c.full_feature) c.attention = sense;
    }
  });
}

void ScriptTarget::send_nop_in() {
  loop_->call([this] {
    for (Connection& c : loop_->connections_) {
      if (c.full_feature) loop_->send_nop_in(c);
    }
  });
}

void ScriptTarget::send_async(AsyncEvent event, const scsi::Sense& sense) {
  loop_->call([this, event, sense] {
    for (Connection& c : loop_->connections_) {
      if (c.full_feature) loop_->send_async(c, event, sense);
    }
  });
}

void ScriptTarget::set_silent(std::size_t portal, bool on) {
  loop_->call([this, portal, on] { loop_->listeners_.at(portal).silent = on; });
}

void ScriptTarget::drop_connections(std::size_t portal, bool reset) {
  loop_->call([this, portal, reset] {
    for (Connection& c : loop_->connections_) {
      if (c.portal == portal) c.end = reset ? End::reset_now : End::fin_now;
    }
  });
}

void ScriptTarget::set_listening(std::size_t portal, bool on) {
  loop_->call([this, portal, on] { loop_->apply_listening(loop_->listeners_.at(portal), on); });
}

void ScriptTarget::release_held() {
  loop_->call([this] {
    for (Connection& c : loop_->connections_) {
      std::vector<std::uint32_t> held;
      for (const auto& [itt, task] : c.tasks) {
        if (task.held) held.push_back(itt);
      }
      for (const std::uint32_t itt : held) loop_->run_task(c, itt);
    }
  });
}

Record ScriptTarget::record() const {
  const std::lock_guard lock(loop_->mutex_);
  return loop_->record_;
}

void ScriptTarget::forget() {
  loop_->call([this] {
    // Tasks that are still there point into the list of commands.
    for (Connection& c : loop_->connections_) {
      if (!c.tasks.empty()) return;
    }
    loop_->record_ = {};
  });
}

bool ScriptTarget::wait_for(const std::function<bool(const Record&)>& condition,
                            std::chrono::milliseconds limit) const {
  std::unique_lock lock(loop_->mutex_);
  return loop_->changed_.wait_for(lock, limit, [&] { return condition(loop_->record_); });
}

std::size_t ScriptTarget::sessions() const {
  const std::lock_guard lock(loop_->mutex_);
  return static_cast<std::size_t>(std::ranges::count_if(loop_->connections_, &Connection::full_feature));
}

std::vector<std::byte> ScriptTarget::disk_bytes(std::size_t disk, std::uint64_t offset, std::size_t length) const {
  const std::lock_guard lock(loop_->mutex_);
  return loop_->disks_.at(disk).read(offset, length);
}

}  // namespace mpath::test
