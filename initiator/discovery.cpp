#include "initiator/discovery.hpp"

#include <fmt/format.h>
#include <iscsi/iscsi.h>

#include <boost/asio/post.hpp>
#include <algorithm>
#include <memory>
#include <utility>

#include "base/system_clock.hpp"
#include "initiator/libiscsi_connection.hpp"

namespace mpath {
namespace {

using bhs::Opcode;

constexpr std::size_t answer_bytes_max = std::size_t{64} << 20;
constexpr std::chrono::milliseconds goodbye{500};  // the answer is there: nobody waits long for a logout

// Owns itself until it has answered.
class Discovery final : private LibiscsiConnection::Owner {
 public:
  Discovery(boost::asio::io_context& loop, Clock& clock, const DiscoveryConfig& config, std::function<void(DiscoveryResult)> done)
      : loop_(loop), clock_(clock), config_(config), done_(std::move(done)),
        connection_(loop, clock, config_.session, /*discovery=*/true, *this) {}

  static void start(std::shared_ptr<Discovery> self) {
    Discovery& discovery = *self;
    discovery.self_ = std::move(self);
    discovery.connection_.start();
  }

 private:
  void on_ready() override {
    static constexpr std::string_view text("SendTargets=All\0", 16);
    tag_ = connection_.send_text(std::as_bytes(std::span(text)), bhs::no_tag);
    deadline_ = clock_.now() + config_.answer_timeout;
    connection_.alarm_by(deadline_);
  }

  // (in library)
  void on_pdu(bhs::Edit header, std::span<const std::byte> segment) noexcept override {
    switch (bhs::opcode(header)) {
      case Opcode::text_response:
        on_text(header, segment);
        return;
      case Opcode::logout_response:
        return;
      case Opcode::async_message:
        connection_.fail(SessionEnd::asked_to_leave, "the target drops the discovery session");
        return;
      case Opcode::reject:
        connection_.fail(SessionEnd::protocol_error, fmt::format("SendTargets was rejected, reason {:#04x}", bhs::response(header)));
        return;
      case Opcode::nop_out:
      case Opcode::scsi_command:
      case Opcode::task_management_request:
      case Opcode::login_request:
      case Opcode::text_request:
      case Opcode::data_out:
      case Opcode::logout_request:
      case Opcode::nop_in:
      case Opcode::scsi_response:
      case Opcode::task_management_response:
      case Opcode::login_response:
      case Opcode::data_in:
      case Opcode::r2t:
        break;
    }
    connection_.fail(SessionEnd::protocol_error,
                     fmt::format("unexpected PDU in discovery, opcode {:#04x}", std::uint8_t(bhs::opcode(header))));
  }

  void on_text(bhs::View header, std::span<const std::byte> segment) {
    if (tag_ != bhs::itt(header) || answered_) {
      connection_.fail(SessionEnd::protocol_error, "text answer that nobody asked for");
      return;
    }
    if (segment.size() > answer_bytes_max - text_.size()) {
      connection_.fail(SessionEnd::protocol_error, "endless SendTargets answer");
      return;
    }
    text_.insert(text_.end(), segment.begin(), segment.end());
    const std::uint8_t flags = bhs::flags(header);
    const bool last = (flags & bhs::flag_final) != 0 && (flags & bhs::flag_continue) == 0;
    if (last) {
      answered_ = true;
    } else if (bhs::ttt(header) == bhs::no_tag || segment.empty()) {
      connection_.fail(SessionEnd::protocol_error, "SendTargets answer that does not go on");
    } else {
      more_ = bhs::ttt(header);
    }
  }

  void on_request(bhs::View, std::uint64_t) noexcept override {}

  void on_batch() override {
    if (more_) {
      tag_ = connection_.send_text({}, *std::exchange(more_, std::nullopt));
    } else if (logged_out_) {
      connection_.close_after_logout();
    } else if (answered_ && !result_) {
      result_ = parse_send_targets(text_, config_.session.address, config_.session.port);
      int failed = 0;
      {
        const LibiscsiConnection::Entry entry(connection_);
        const auto answered = [](iscsi_context*, int, void*, void* self) { static_cast<Discovery*>(self)->logged_out_ = true; };
        failed = iscsi_logout_async(entry.context(), answered, this);
      }
      connection_.corked();
      connection_.want_send();
      deadline_ = failed != 0 ? clock_.now() : clock_.now() + goodbye;
      connection_.alarm_by(deadline_);
    }
  }

  void on_flushed() override {}

  TimePoint on_alarm(TimePoint now) override {
    if (now < deadline_) return deadline_;
    if (result_) {
      connection_.close_after_logout();
    } else {
      connection_.fail(SessionEnd::task_timeout, fmt::format("no answer to SendTargets in {} ms", config_.answer_timeout.count()));
    }
    return never;
  }

  void on_ended(const SessionFailure& failure) override {
    boost::asio::post(loop_, [self = std::move(self_), failure] {
      self->done_(self->result_ ? std::move(*self->result_) : DiscoveryResult(std::unexpected(failure)));
    });
  }

  // Constant after construction.
  boost::asio::io_context& loop_;
  Clock& clock_;
  const DiscoveryConfig config_;
  // Owned by the loop's thread.
  std::function<void(DiscoveryResult)> done_;
  std::shared_ptr<Discovery> self_;
  std::optional<std::uint32_t> tag_;
  std::optional<std::uint32_t> more_;  // the target transfer tag to ask on with
  std::vector<std::byte> text_;
  bool answered_ = false;
  bool logged_out_ = false;
  TimePoint deadline_ = never;
  std::optional<DiscoveryResult> result_;
  LibiscsiConnection connection_;
};

}  // namespace

DiscoveryResult parse_send_targets(std::span<const std::byte> text, const std::string& asked_address, std::uint16_t asked_port) {
  std::vector<DiscoveredPortal> found;
  std::string target;
  bool has_address = true;
  const char* wrong = nullptr;
  const auto end_target = [&] {
    if (!has_address) found.push_back({target, asked_address, asked_port, -1});
  };
  const bool well_formed = for_each_key(text, [&](std::string_view key, std::string_view value) {
    if (key == "TargetName") {
      end_target();
      if (value.empty() || value.size() > 223) wrong = "a target name is empty or too long";
      target = value;
      has_address = false;
    } else if (key == "TargetAddress") {
      auto portal = parse_portal(value);
      if (target.empty() || !portal) {
        wrong = target.empty() ? "an address without a target" : "an address that is none";
        return;
      }
      found.push_back({target, std::move(portal->address), portal->port, portal->tpgt});
      has_address = true;
    }  // other keys (TargetAlias and what vendors add) are no business of ours
  });
  if (!well_formed) wrong = "not key=value text";
  if (wrong != nullptr) return std::unexpected(SessionFailure{SessionEnd::protocol_error, fmt::format("SendTargets answer: {}", wrong)});
  end_target();
  return found;
}

void start_discovery(boost::asio::io_context& loop, Clock& clock, const DiscoveryConfig& config,
                     std::function<void(DiscoveryResult)> done) {
  Discovery::start(std::make_shared<Discovery>(loop, clock, config, std::move(done)));
}

DiscoveryResult discover(const DiscoveryConfig& config) {
  boost::asio::io_context loop(1);
  SystemClock clock(loop);
  std::optional<DiscoveryResult> result;
  start_discovery(loop, clock, config, [&](DiscoveryResult found) { result = std::move(found); });
  loop.run();
  return result ? std::move(*result) : DiscoveryResult(std::unexpected(SessionFailure{SessionEnd::aborted, "interrupted"}));
}

}  // namespace mpath
