#include "initiator/libiscsi_connection.hpp"

#include <fmt/format.h>
#include <ifaddrs.h>
#include <iscsi/iscsi.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>

#include <boost/asio/post.hpp>
#include <cstring>
#include <utility>

#include "base/check.hpp"

namespace mpath {
namespace {

using bhs::Opcode;

constexpr unsigned redirects_max = 3;
constexpr unsigned rounds_max = 16;  // receives a wake-up, so that one busy socket does not starve the others

iscsi_header_digest offered(Digest digest) {
  switch (digest) {
    case Digest::none: return ISCSI_HEADER_DIGEST_NONE;
    case Digest::crc32c: return ISCSI_HEADER_DIGEST_CRC32C;
    case Digest::crc32c_preferred: return ISCSI_HEADER_DIGEST_CRC32C_NONE;
    case Digest::none_preferred: return ISCSI_HEADER_DIGEST_NONE_CRC32C;
  }
  return ISCSI_HEADER_DIGEST_NONE;
}

std::uint32_t number24(const Isid& isid, std::size_t at) {
  return std::uint32_t{isid[at]} << 16 | std::uint32_t{isid[at + 1]} << 8 | isid[at + 2];
}

// The library takes an ISID in parts, by format (RFC 7143, 11.12.5).
void set_isid(iscsi_context* context, const Isid& isid) {
  switch (isid[0] >> 6) {
    case 0: iscsi_set_isid_oui(context, number24(isid, 0) & 0x3fffff, number24(isid, 3)); break;
    case 1: iscsi_set_isid_en(context, number24(isid, 1), std::uint32_t{isid[4]} << 8 | isid[5]); break;
    case 2: iscsi_set_isid_random(context, number24(isid, 1), std::uint32_t{isid[4]} << 8 | isid[5]); break;
    default: iscsi_set_isid_reserved(context); break;
  }
}

std::string text_of(const sockaddr_storage& address) {
  char text[INET6_ADDRSTRLEN] = "";
  if (address.ss_family == AF_INET) {
    inet_ntop(AF_INET, &reinterpret_cast<const sockaddr_in&>(address).sin_addr, text, sizeof text);
  } else if (address.ss_family == AF_INET6) {
    inet_ntop(AF_INET6, &reinterpret_cast<const sockaddr_in6&>(address).sin6_addr, text, sizeof text);
  }
  return text;
}

std::string ifname_of(const std::string& address) {
  std::string name;
  ifaddrs* list = nullptr;
  if (getifaddrs(&list) != 0) return name;
  for (const ifaddrs* entry = list; entry != nullptr && name.empty(); entry = entry->ifa_next) {
    if (entry->ifa_addr == nullptr) continue;
    sockaddr_storage storage{};
    const int family = entry->ifa_addr->sa_family;
    if (family != AF_INET && family != AF_INET6) continue;
    std::memcpy(&storage, entry->ifa_addr, family == AF_INET ? sizeof(sockaddr_in) : sizeof(sockaddr_in6));
    if (text_of(storage) == address) name = entry->ifa_name;
  }
  freeifaddrs(list);
  return name;
}

}  // namespace

std::optional<SessionFailure> unusable(const SessionConfig& config, bool discovery) {
  // The library keeps each of these in 255 bytes and cuts silently.
  constexpr std::size_t text_max = 255;
  const auto bad = [](SessionEnd end, const char* text) { return SessionFailure{end, text}; };
  if (config.initiator_name.empty()) return bad(SessionEnd::login_rejected, "no initiator name");
  if (!discovery && config.target_name.empty()) return bad(SessionEnd::login_rejected, "no target name");
  if (config.initiator_name.size() > 223 || config.target_name.size() > 223) {
    return bad(SessionEnd::login_rejected, "an iSCSI name is longer than 223 bytes");
  }
  for (const std::string* text : {&config.chap.name, &config.chap.secret, &config.chap_in.name, &config.chap_in.secret}) {
    if (text->size() > text_max) return bad(SessionEnd::auth_failed, "a CHAP name or secret is longer than 255 bytes");
  }
  if (config.chap.name.empty() && (config.chap_required || !config.chap_in.name.empty())) {
    return bad(SessionEnd::auth_failed, "CHAP is required and no user name is set");
  }
  if (!config.chap_in.name.empty() && config.chap_in.secret == config.chap.secret) {
    return bad(SessionEnd::auth_failed, "CHAP secrets of both directions are the same");  // RFC 7143, 9.2.1
  }
  return std::nullopt;
}

LibiscsiConnection::LibiscsiConnection(boost::asio::io_context& loop, Clock& clock, const SessionConfig& config,
                                       bool discovery, Owner& owner)
    : loop_(loop), clock_(clock), config_(config), discovery_(discovery), owner_(owner), address_(config.address),
      port_(config.port), descriptor_(loop), alarm_(clock.make_alarm([this] { alarm(); })) {}

LibiscsiConnection::~LibiscsiConnection() {
  state_ = State::ended;
  close_socket(true);
  if (context_ != nullptr) {
    const BatchSocket::Scope scope(*socket_);
    iscsi_destroy_context(std::exchange(context_, nullptr));
  }
}

std::string LibiscsiConnection::where() const {
  return address_.find(':') == std::string::npos ? fmt::format("{}:{}", address_, port_)
                                                 : fmt::format("[{}]:{}", address_, port_);
}

// ---- connect and login

void LibiscsiConnection::start() {
  CHECK(state_ == State::idle);
  if (auto failure = unusable(config_, discovery_)) {
    fail(failure->end, std::move(failure->text));
    return;
  }
  open();
}

void LibiscsiConnection::open() {
  state_ = State::connecting;
  auto peer = parse_peer(address_, port_);
  if (!peer) {
    const bool redirected = redirects_ > 0;
    fail(redirected ? SessionEnd::redirect_failed : SessionEnd::connect_failed,
         fmt::format("{}: not a usable numeric address: {}", where(), peer.error().message()));
    return;
  }
  const bool v6 = peer->storage.ss_family == AF_INET6;
  PduTap& tap = *this;
  socket_ = std::make_unique<BatchSocket>(tap, config_.binding, *peer);
  watch_.emplace(LoginPolicy{.chap_required = config_.chap_required,
                             .mutual = !config_.chap_in.name.empty(),
                             .header_digest = config_.header_digest,
                             .immediate_data = config_.immediate_data,
                             .initial_r2t = config_.initial_r2t,
                             .discovery = discovery_});
  serials_known_ = false;
  logged_in_callback_ = login_failed_callback_ = false;
  context_ = iscsi_create_context(config_.initiator_name.c_str());
  CHECK(context_ != nullptr);
  iscsi_set_noautoreconnect(context_, 1);
  iscsi_set_timeout(context_, 0);
  iscsi_set_session_type(context_, discovery_ ? ISCSI_SESSION_DISCOVERY : ISCSI_SESSION_NORMAL);
  if (!discovery_) iscsi_set_targetname(context_, config_.target_name.c_str());
  set_isid(context_, config_.isid);
  iscsi_set_header_digest(context_, offered(config_.header_digest));
  iscsi_set_initial_r2t(context_, config_.initial_r2t ? ISCSI_INITIAL_R2T_YES : ISCSI_INITIAL_R2T_NO);
  iscsi_set_immediate_data(context_, config_.immediate_data ? ISCSI_IMMEDIATE_DATA_YES : ISCSI_IMMEDIATE_DATA_NO);
  if (!config_.chap.name.empty()) {
    iscsi_set_initiator_username_pwd(context_, config_.chap.name.c_str(), config_.chap.secret.c_str());
    if (!config_.chap_in.name.empty()) {
      iscsi_set_target_username_pwd(context_, config_.chap_in.name.c_str(), config_.chap_in.secret.c_str());
    }
  }

  // The library parses and resolves this text and then calls our connect(), which knows the real address.
  const char* const family_only = v6 ? "[::1]:3260" : "127.0.0.1:3260";
  int result = 0;
  {
    const Entry entry(*this);
    result = iscsi_connect_async(context_, family_only, [](iscsi_context*, int, void*, void*) {}, this);
  }
  if (result != 0) {
    if (socket_->bind_error()) {
      const std::string& nic = config_.binding.net_ifacename;
      fail(SessionEnd::bind_failed, fmt::format("iface {}: {}{}{}", config_.binding.iface_name, nic, nic.empty() ? "" : ": ",
                                                socket_->bind_error().message()));
    } else {
      fail(SessionEnd::connect_failed, fmt::format("connect to {}: {}", where(), socket_->connect_error().message()));
    }
    return;
  }
  descriptor_.assign(socket_->fd());
  alarm_by(clock_.now() + config_.connect_timeout);
  login_deadline_ = clock_.now() + config_.connect_timeout;
  wait_connected();
}

void LibiscsiConnection::wait_connected() {
  ++pending_;
  descriptor_.async_wait(boost::asio::posix::stream_descriptor::wait_write, [this](const boost::system::error_code& error) {
    --pending_;
    if (state_ == State::ended || redirect_) return finish_soon();
    if (!error) connected();
  });
}

void LibiscsiConnection::connected() {
  int error = 0;
  socklen_t size = sizeof error;
  getsockopt(socket_->fd(), SOL_SOCKET, SO_ERROR, &error, &size);
  if (error != 0) {
    fail(SessionEnd::connect_failed,
         fmt::format("connect to {}: {}", where(), error_code(error, std::generic_category()).message()));
    return;
  }
  if (!socket_is_bound(socket_->fd(), config_.binding)) {
    fail(SessionEnd::bind_failed, fmt::format("iface {}: the socket left by another NIC", config_.binding.iface_name));
    return;
  }
  state_ = State::logging_in;
  last_heard_ = clock_.now();
  login_deadline_ = last_heard_ + config_.login_timeout;
  alarm_at_ = login_deadline_;
  alarm_->set(login_deadline_);
  int result = 0;
  {
    const Entry entry(*this);
    result = iscsi_service(context_, POLLOUT);  // tells the library that it is connected
    if (result == 0) {
      const auto done = [](iscsi_context*, int status, void*, void* data) {
        auto* const self = static_cast<LibiscsiConnection*>(data);
        (status == SCSI_STATUS_GOOD ? self->logged_in_callback_ : self->login_failed_callback_) = true;
      };
      result = iscsi_login_async(context_, done, this);
    }
  }
  if (result != 0) {
    fail(SessionEnd::protocol_error, fmt::format("login could not be begun: {}", iscsi_get_error(context_)));
    return;
  }
  send_wanted_ = true;
  push_out();
  wait_readable();
}

void LibiscsiConnection::on_login_response(bhs::View header, std::span<const std::byte> segment) {
  const LoginStep step = watch_->on_response(header, segment);
  if (const auto* failure = std::get_if<SessionFailure>(&step)) {
    fail(failure->end, fmt::format("{}: {}", where(), failure->text));
  } else if (const auto* redirect = std::get_if<LoginRedirect>(&step)) {
    if (redirects_ == redirects_max) {
      fail(SessionEnd::redirect_failed, fmt::format("{}: redirected more than {} times", where(), redirects_max));
    } else if (!redirect_) {
      redirect_ = *redirect;
    }
  } else if (const auto* done = std::get_if<LoginDone>(&step)) {
    if (done->digest_key_missing) iscsi_set_header_digest(context_, ISCSI_HEADER_DIGEST_NONE);
    socket_->use_header_digest(done->header_digest);
  }
}

void LibiscsiConnection::logged_in() {
  state_ = State::ready;
  info_ = watch_->info();
  sockaddr_storage local{};
  socklen_t size = sizeof local;
  if (getsockname(socket_->fd(), reinterpret_cast<sockaddr*>(&local), &size) == 0) info_.local_address = text_of(local);
  info_.net_ifacename =
      config_.binding.net_ifacename.empty() ? ifname_of(info_.local_address) : config_.binding.net_ifacename;
  alarm_->cancel();
  alarm_at_ = never;
  owner_.on_ready();
}

// ---- what passes by

void LibiscsiConnection::note_serials(bhs::View header) {
  const Opcode opcode = bhs::opcode(header);
  const std::uint32_t exp_cmd_sn = bhs::exp_cmd_sn(header);
  const std::uint32_t max_cmd_sn = bhs::max_cmd_sn(header);
  if (!serials_known_) {
    exp_cmd_sn_ = exp_cmd_sn;
    max_cmd_sn_ = max_cmd_sn;
    serials_known_ = true;
  } else if (!bhs::serial_less(max_cmd_sn, exp_cmd_sn - 1)) {  // RFC 7143, 4.2.2.1: else both are ignored
    if (bhs::serial_less(exp_cmd_sn_, exp_cmd_sn)) exp_cmd_sn_ = exp_cmd_sn;
    if (bhs::serial_less(max_cmd_sn_, max_cmd_sn)) max_cmd_sn_ = max_cmd_sn;
  }
  // StatSN counts replies that carry a status; in the others it is absent or only announced.
  if (opcode == Opcode::r2t) return;
  if (opcode == Opcode::data_in && (bhs::flags(header) & bhs::flag_has_status) == 0) return;
  if (opcode == Opcode::nop_in && bhs::itt(header) == bhs::no_tag) return;
  exp_stat_sn_ = bhs::stat_sn(header) + 1;
}

bool LibiscsiConnection::on_pdu_in(bhs::Edit header, std::span<const std::byte> segment) noexcept {
  if (state_ == State::ended || redirect_) return false;
  const Opcode opcode = bhs::opcode(header);
  if (state_ == State::logging_in && !logged_in_callback_) {
    if (opcode != Opcode::login_response) {
      fail(SessionEnd::protocol_error, fmt::format("{}: opcode {:#04x} during login", where(), std::uint8_t(opcode)));
      return false;
    }
    if (bhs::login_status_class(header) == 0) note_serials(header);
    on_login_response(header, segment);
    return state_ != State::ended && !redirect_;
  }
  note_serials(header);
  if (opcode == Opcode::nop_in) {
    on_nop_in(header);
  } else {
    owner_.on_pdu(header, segment);
  }
  return state_ != State::ended;
}

void LibiscsiConnection::on_nop_in(bhs::Edit header) {
  ++past_.nop_in;
  if (bhs::ttt(header) != bhs::no_tag && bhs::itt(header) == bhs::no_tag) answer_ping(header);
  if (nop_tag_ && bhs::itt(header) == *nop_tag_) nop_tag_.reset();
}

// The library would answer by itself, but may give the answer the CmdSN of a Data-Out that waits before it and then take
// its own mistake for a lost connection. So we answer, and the library sees a NOP-In that wants none.
void LibiscsiConnection::answer_ping(bhs::Edit header) {
  std::array<std::byte, bhs::size> reply{};
  const bhs::Edit out(reply);
  out[0] = static_cast<std::byte>(std::uint8_t(Opcode::nop_out) | bhs::immediate_bit);
  out[1] = static_cast<std::byte>(bhs::flag_final);
  std::copy(header.begin() + 8, header.begin() + 16, out.begin() + 8);  // LUN
  bhs::set32(out, 16, bhs::no_tag);
  bhs::set32(out, 20, bhs::ttt(header));
  bhs::set32(out, 24, next_cmd_sn_);
  socket_->inject(reply);
  send_wanted_ = true;
  bhs::set32(header, 20, bhs::no_tag);
}

// Far from every tag the library can have outstanding: it counts up from its last.
std::uint32_t LibiscsiConnection::own_tag() const {
  const std::uint32_t tag = last_itt_ ^ 0x80000000U;
  return tag == bhs::no_tag ? tag - 1 : tag;
}

bool LibiscsiConnection::send_nop() {
  if (state_ != State::ready || nop_tag_ || corked_) return false;
  const std::uint32_t tag = own_tag();
  nop_tag_ = tag;
  std::array<std::byte, bhs::size> request{};
  const bhs::Edit out(request);
  out[0] = static_cast<std::byte>(std::uint8_t(Opcode::nop_out) | bhs::immediate_bit);
  out[1] = static_cast<std::byte>(bhs::flag_final);
  bhs::set32(out, 16, tag);
  bhs::set32(out, 20, bhs::no_tag);
  bhs::set32(out, 24, next_cmd_sn_);
  socket_->inject(request);
  want_send();
  return true;
}

std::uint32_t LibiscsiConnection::send_text(std::span<const std::byte> text, std::uint32_t ttt) {
  const std::uint32_t tag = own_tag();
  std::array<std::byte, bhs::size> request{};
  const bhs::Edit out(request);
  out[0] = static_cast<std::byte>(std::uint8_t(Opcode::text_request) | bhs::immediate_bit);
  out[1] = static_cast<std::byte>(bhs::flag_final);
  bhs::set32(out, 16, tag);
  bhs::set32(out, 20, ttt);
  bhs::set32(out, 24, next_cmd_sn_);
  socket_->inject(request, text);
  want_send();
  return tag;
}

void LibiscsiConnection::on_pdu_out(bhs::Edit header, std::span<const std::byte> segment) noexcept {
  const Opcode opcode = bhs::opcode(header);
  switch (opcode) {
    case Opcode::login_request:
      watch_->on_request(header, segment);
      next_cmd_sn_ = bhs::cmd_sn(header);
      last_itt_ = bhs::itt(header);
      break;
    case Opcode::nop_out:
      ++past_.nop_out;
      break;
    case Opcode::scsi_command:
      next_cmd_sn_ = bhs::cmd_sn(header) + 1;
      last_itt_ = bhs::itt(header);
      break;
    case Opcode::task_management_request:
      ++past_.task_management;
      break;
    case Opcode::text_request:
    case Opcode::data_out:
    case Opcode::logout_request:
    case Opcode::nop_in:
    case Opcode::scsi_response:
    case Opcode::task_management_response:
    case Opcode::login_response:
    case Opcode::text_response:
    case Opcode::data_in:
    case Opcode::logout_response:
    case Opcode::r2t:
    case Opcode::async_message:
    case Opcode::reject:
      break;
  }
  // The library starts from StatSN 0 when it does no CHAP, and then never acknowledges a target that begins above 2^31.
  if (serials_known_) bhs::set_exp_stat_sn(header, exp_stat_sn_);
  if (state_ == State::ready) owner_.on_request(header, socket_->appended());
}

// ---- the loop

void LibiscsiConnection::wait_readable() {
  if (readable_wait_ || state_ == State::ended || redirect_) return;
  readable_wait_ = true;
  ++pending_;
  descriptor_.async_wait(boost::asio::posix::stream_descriptor::wait_read, [this](const boost::system::error_code& error) {
    --pending_;
    readable_wait_ = false;
    if (state_ == State::ended || redirect_) return finish_soon();
    if (error) return;
    socket_->expect_more();
    pump();
    wait_readable();
  });
}

void LibiscsiConnection::wait_writable() {
  if (writable_wait_ || state_ == State::ended || redirect_) return;
  writable_wait_ = true;
  ++pending_;
  descriptor_.async_wait(boost::asio::posix::stream_descriptor::wait_write, [this](const boost::system::error_code& error) {
    --pending_;
    writable_wait_ = false;
    if (state_ == State::ended || redirect_) return finish_soon();
    if (error) return;
    push_out();
    check_socket();
  });
}

void LibiscsiConnection::want_send() {
  send_wanted_ = true;
  if (pumping_ || send_posted_ || state_ != State::ready) return;
  send_posted_ = true;
  ++pending_;
  boost::asio::post(loop_, [this] {
    --pending_;
    send_posted_ = false;
    if (state_ == State::ended || redirect_) return finish_soon();
    push_out();
    check_socket();
  });
}

// The library handles what is staged until it gets no further.
void LibiscsiConnection::digest_received() {
  for (;;) {
    const std::uint64_t before = socket_->delivered();
    int result = 0;
    {
      const Entry entry(*this);
      result = iscsi_service(context_, POLLIN | POLLOUT);
    }
    if (state_ == State::ended || redirect_) return;
    if (socket_->refusal() != nullptr) {
      fail(SessionEnd::protocol_error, fmt::format("{}: {}", where(), socket_->refusal()));
      return;
    }
    if (login_failed_callback_) {
      // A status is judged before the library sees it, so this is CHAP: what the target must prove.
      const bool mutual = !config_.chap_in.name.empty();
      fail(mutual ? SessionEnd::auth_failed : SessionEnd::protocol_error,
           fmt::format("{}: login failed: {}", where(), iscsi_get_error(context_)));
      return;
    }
    if (result != 0) {
      fail(SessionEnd::protocol_error, fmt::format("{}: {}", where(), iscsi_get_error(context_)));
      return;
    }
    if (socket_->delivered() == before) return;
    if (!socket_->has_staged() && !(socket_->wants_direct_read() && !socket_->drained())) return;
  }
}

void LibiscsiConnection::pump() {
  if (pumping_) return;
  pumping_ = true;
  for (unsigned round = 0; round < rounds_max; ++round) {
    const std::uint64_t heard = socket_->received();
    if (!socket_->wants_direct_read()) socket_->fill();
    digest_received();
    if (socket_->received() != heard) last_heard_ = clock_.now();
    if (state_ == State::ended || redirect_) break;
    if (state_ == State::logging_in && logged_in_callback_) logged_in();
    if (state_ == State::ready) owner_.on_batch();
    if (state_ == State::ended) break;
    if (send_wanted_ || socket_->appended() != socket_->flushed()) push_out();
    if (socket_->drained() || socket_->failure()) break;
  }
  pumping_ = false;
  if (send_wanted_) want_send();  // submitted by completions of the last flush
  check_socket();
  if (state_ == State::ended || redirect_) finish_soon();
}

// Everything the library holds goes to the socket's list, and that to the kernel.
void LibiscsiConnection::push_out() {
  if (state_ == State::ended || redirect_) return;
  if (std::exchange(send_wanted_, false)) {
    int result = 0;
    {
      const Entry entry(*this);
      result = iscsi_service(context_, POLLOUT);
    }
    if (state_ == State::ended || redirect_) return;
    if (result != 0) {
      fail(SessionEnd::protocol_error, fmt::format("{}: {}", where(), iscsi_get_error(context_)));
      return;
    }
    // Held back means that a command was submitted past the window; it would then be cancelled with a hole in CmdSN.
    if (!corked_ && iscsi_out_queue_length(context_) != 0) {
      fail(SessionEnd::protocol_error, fmt::format("{}: the library holds commands back", where()));
      return;
    }
  }
  if (!socket_->flush() && !socket_->failure()) wait_writable();
  if (state_ == State::ready) owner_.on_flushed();
}

void LibiscsiConnection::check_socket() {
  if (state_ == State::ended || redirect_ || !socket_->failure()) return;
  const bool in_login = state_ == State::logging_in;
  fail(in_login ? SessionEnd::connect_failed : SessionEnd::peer_closed,
       fmt::format("{}: {}{}", where(), socket_->failure().message(), in_login ? " during login" : ""));
}

// ---- time

void LibiscsiConnection::alarm_by(TimePoint at) {
  if (at >= alarm_at_ || state_ == State::ended) return;
  alarm_at_ = at;
  alarm_->set(at);
}

void LibiscsiConnection::alarm() {
  alarm_at_ = never;
  if (state_ == State::ended || redirect_) return;
  if (state_ == State::logging_in || state_ == State::ready) {
    // We may be late ourselves: what has come in the meantime counts before anybody is called silent.
    socket_->expect_more();
    pump();
    if (state_ == State::ended || redirect_) return;
  }
  const TimePoint now = clock_.now();
  if (state_ == State::ready) {
    const TimePoint next = owner_.on_alarm(now);
    if (state_ != State::ended) alarm_by(next);
  } else if (now < login_deadline_) {
    alarm_by(login_deadline_);
  } else if (state_ == State::connecting) {
    fail(SessionEnd::connect_timeout, fmt::format("connect to {}: no answer in {} ms", where(), config_.connect_timeout.count()));
  } else {
    fail(SessionEnd::login_timeout, fmt::format("{}: login not done in {} ms", where(), config_.login_timeout.count()));
  }
}

// ---- the end

void LibiscsiConnection::fail(SessionEnd why, std::string text) {
  if (state_ == State::ended) return;
  state_ = State::ended;
  failure_ = SessionFailure{why, std::move(text)};
  redirect_.reset();
  close_socket(true);
  finish_soon();
}

void LibiscsiConnection::close_after_logout() {
  if (state_ == State::ended) return;
  state_ = State::ended;
  failure_ = SessionFailure{SessionEnd::logged_out, "logged out"};
  close_socket(false);
  finish_soon();
}

void LibiscsiConnection::close_socket(bool reset) {
  alarm_->cancel();
  alarm_at_ = never;
  if (descriptor_.is_open()) descriptor_.release();  // its waits come back cancelled
  if (socket_) socket_->close(reset);
}

// The last steps run from the loop with no handler of ours outstanding: the owner may destroy us after them.
void LibiscsiConnection::finish_soon() {
  if (redirect_ && descriptor_.is_open()) close_socket(true);
  if (pending_ != 0 || finish_posted_) return;
  finish_posted_ = true;
  ++pending_;
  boost::asio::post(loop_, [this] {
    --pending_;
    finish_posted_ = false;
    finish();
  });
}

void LibiscsiConnection::finish() {
  CHECK(depth_ == 0);
  if (context_ != nullptr) {
    const BatchSocket::Scope scope(*socket_);
    iscsi_destroy_context(std::exchange(context_, nullptr));
  }
  if (socket_) {
    past_.system_calls += socket_->system_calls();
    past_.rx_bytes += socket_->received();
    past_.tx_bytes += socket_->flushed();
  }
  if (state_ != State::ended) {  // a redirect
    socket_.reset();
    address_ = redirect_->address;
    port_ = redirect_->port;
    redirect_.reset();
    ++redirects_;
    open();
    return;
  }
  owner_.on_ended(*failure_);
}

SessionCounters LibiscsiConnection::counters() const {
  SessionCounters all = past_;
  if (socket_ && context_ != nullptr) {
    all.system_calls += socket_->system_calls();
    all.rx_bytes += socket_->received();
    all.tx_bytes += socket_->flushed();
  }
  return all;
}

}  // namespace mpath
