// One libiscsi context on one socket, from connect through login to its end: what sessions and discovery have in common.
// The library's reconnect, cancel, timeout and binding code is never entered (each is unsafe for multipath, see
// reference/datapath.md 1.3); connecting, deadlines, redirects, keep-alive answers and the judgement of what the target
// sends are ours.
//
//   start() -> connecting -> logging in -> ready -> ended       any failure: ended; a redirect: connecting again (3 times)
//
// Threads:   one event loop.
// Ownership: context, clock and owner are borrowed. Destroy only after on_ended(), or when the loop runs no more.
// Re-entry:  owner callbacks marked (in library) run while the library is on the stack: they may record, submit and call
//            fail(), nothing else. The others run with the library idle.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "base/clock.hpp"
#include "initiator/batch_socket.hpp"
#include "initiator/login_watch.hpp"
#include "initiator/session.hpp"

struct iscsi_context;

namespace mpath {

class LibiscsiConnection final : private PduTap {
 public:
  class Owner {
   public:
    virtual ~Owner() = default;
    virtual void on_ready() = 0;  // full feature phase
    // (in library) A PDU of the full feature phase; may be edited. Not for the library's eyes: call fail().
    virtual void on_pdu(bhs::Edit header, std::span<const std::byte> segment) noexcept = 0;
    // (in library) A request on its way out; `at` is its place in the byte stream. Payload given later is its own.
    virtual void on_request(bhs::View header, std::uint64_t at) noexcept = 0;
    // The library has digested what was received. Completions and new submissions belong here.
    virtual void on_batch() = 0;
    // What could be sent has been: payload below flushed() is no longer referenced.
    virtual void on_flushed() = 0;
    // The alarm asked for, or earlier; everything received by then has been digested. Returns when to be called next.
    [[nodiscard]] virtual TimePoint on_alarm(TimePoint now) = 0;
    // Last, once: the socket is closed and the library's context is gone.
    virtual void on_ended(const SessionFailure& failure) = 0;
  };

  LibiscsiConnection(boost::asio::io_context& loop, Clock& clock, const SessionConfig& config, bool discovery, Owner& owner);
  ~LibiscsiConnection() override;

  void start();
  [[nodiscard]] bool ready() const { return state_ == State::ready; }
  [[nodiscard]] bool ended() const { return state_ == State::ended; }

  // Ends now, socket reset (an orderly goodbye only closes it); on_ended() follows from the loop. The first reason stays.
  void fail(SessionEnd why, std::string text);
  void close_after_logout();

  // The library has something to send: soon, and once for everything that is queued until then.
  void want_send();
  // The library's context for one call of submission; null unless ready.
  class Entry {
   public:
    explicit Entry(LibiscsiConnection& connection) : connection_(connection), scope_(*connection.socket_) { ++connection_.depth_; }
    ~Entry() { --connection_.depth_; }
    Entry(const Entry&) = delete;
    Entry& operator=(const Entry&) = delete;
    [[nodiscard]] iscsi_context* context() const { return connection_.context_; }

   private:
    LibiscsiConnection& connection_;
    BatchSocket::Scope scope_;
  };
  // on_alarm() is wanted at `at` or before.
  void alarm_by(TimePoint at);

  // An immediate NOP-Out of our own (RFC 7143, 11.18): needs no place in the command window. False while one is out.
  bool send_nop();
  // An immediate Text Request of our own (11.10); the library ignores the answer, on_pdu() sees it. Returns its tag.
  std::uint32_t send_text(std::span<const std::byte> text, std::uint32_t ttt);
  [[nodiscard]] bool nop_out() const { return nop_tag_.has_value(); }
  void forget_nop() { nop_tag_.reset(); }

  // The library is to be told nothing more to send (logout is the last).
  void corked() { corked_ = true; }

  [[nodiscard]] TimePoint last_heard() const { return last_heard_; }
  [[nodiscard]] std::uint64_t flushed() const { return socket_ ? socket_->flushed() : 0; }
  [[nodiscard]] std::uint64_t appended() const { return socket_ ? socket_->appended() : 0; }
  [[nodiscard]] std::uint32_t exp_cmd_sn() const { return exp_cmd_sn_; }
  [[nodiscard]] std::uint32_t max_cmd_sn() const { return max_cmd_sn_; }
  [[nodiscard]] std::uint32_t next_cmd_sn() const { return next_cmd_sn_; }
  [[nodiscard]] const SessionInfo& info() const { return info_; }
  [[nodiscard]] SessionCounters counters() const;

 private:
  enum class State : std::uint8_t { idle, connecting, logging_in, ready, ended };

  [[nodiscard]] bool on_pdu_in(bhs::Edit header, std::span<const std::byte> segment) noexcept override;
  void on_pdu_out(bhs::Edit header, std::span<const std::byte> segment) noexcept override;
  void note_serials(bhs::View header);
  void on_login_response(bhs::View header, std::span<const std::byte> segment);
  void answer_ping(bhs::Edit header);
  void on_nop_in(bhs::Edit header);
  [[nodiscard]] std::uint32_t own_tag() const;

  void open();
  void wait_connected();
  void connected();
  void logged_in();
  void wait_readable();
  void wait_writable();
  void pump();
  void digest_received();
  void push_out();
  void check_socket();
  void alarm();
  void close_socket(bool reset);
  void finish_soon();
  void finish();
  [[nodiscard]] std::string where() const;

  // Constant after construction.
  boost::asio::io_context& loop_;
  Clock& clock_;
  const SessionConfig config_;
  const bool discovery_;
  Owner& owner_;
  // Owned by the loop's thread.
  State state_ = State::idle;
  std::string address_;
  std::uint16_t port_;
  unsigned redirects_ = 0;
  std::optional<LoginRedirect> redirect_;
  bool logged_in_callback_ = false;
  bool login_failed_callback_ = false;
  std::optional<SessionFailure> failure_;
  std::unique_ptr<BatchSocket> socket_;
  boost::asio::posix::stream_descriptor descriptor_;
  iscsi_context* context_ = nullptr;
  std::optional<LoginWatch> watch_;
  SessionInfo info_;
  std::unique_ptr<Alarm> alarm_;
  TimePoint alarm_at_ = never;
  TimePoint login_deadline_ = never;
  TimePoint last_heard_{};
  unsigned depth_ = 0;     // library calls on the stack
  unsigned pending_ = 0;   // handlers that will run
  bool pumping_ = false;
  bool send_wanted_ = false;
  bool send_posted_ = false;
  bool writable_wait_ = false;
  bool readable_wait_ = false;
  bool finish_posted_ = false;
  bool corked_ = false;
  std::uint32_t exp_cmd_sn_ = 0, max_cmd_sn_ = 0, next_cmd_sn_ = 0, exp_stat_sn_ = 0;
  bool serials_known_ = false;
  std::optional<std::uint32_t> nop_tag_;
  std::uint32_t last_itt_ = 0;
  SessionCounters past_;  // of sockets before a redirect, and what is counted here
};

// Digests and odd states of a config that cannot work, before anything is sent.
[[nodiscard]] std::optional<SessionFailure> unusable(const SessionConfig& config, bool discovery);

}  // namespace mpath
