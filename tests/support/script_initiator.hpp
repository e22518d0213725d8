// A scripted iSCSI initiator for protocol tests: sends any PDU, right or wrong, and says what comes back.
//
//   ScriptInitiator initiator = ScriptInitiator::connect("127.0.0.1", port);
//   initiator.login({{"InitiatorName", "iqn.2025-11.test:a"}, {"TargetName", target}, {"SessionType", "Normal"}});
//   initiator.send(initiator.command(scsi::read_cdb(0, 8), {.in = 4096}));
//   const auto data = initiator.expect<iscsi::DataIn>();
//
// It stands on the codecs of wire/ and nothing of target/: an independent hand. It keeps the numbers a right initiator
// would (CmdSN, ExpStatSN, task tags); a test that wants them wrong changes the PDU before it is sent.
//
// Threads: one; every call blocks, at most for `patience`.
// Errors:  what a test did not expect is thrown as ScriptError, with words for the failing test's output.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "base/unique_fd.hpp"
#include "wire/iscsi_pdu.hpp"
#include "wire/iscsi_text.hpp"
#include "wire/scsi.hpp"

namespace mpath::test {

using Bytes = std::vector<std::byte>;

struct ScriptError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// A PDU as it came.
struct SeenPdu {
  iscsi::Opcode opcode{};
  std::array<std::byte, iscsi::bhs_bytes> bhs{};
  Bytes ahs;
  Bytes data;
  [[nodiscard]] iscsi::Bhs header() const { return bhs; }
};

template <typename Pdu>
struct Seen : Pdu {
  Bytes data;
};

class ScriptInitiator {
 public:
  // A stream socket that is connected; for tests without a login, in full feature phase.
  explicit ScriptInitiator(UniqueFd socket) : socket_(std::move(socket)) {}
  [[nodiscard]] static ScriptInitiator connect(const std::string& address, std::uint16_t port);

  // --- what a right initiator keeps
  std::uint32_t cmd_sn = 1;
  std::uint32_t exp_stat_sn = 1;
  std::uint32_t next_itt = 1;
  std::uint32_t exp_cmd_sn = 0;  // as the target said last
  std::uint32_t max_cmd_sn = 0;
  bool header_digest = false;
  bool data_digest = false;
  iscsi::Isid isid{0x80, 0, 0, 0, 0, 1};
  std::uint16_t tsih = 0;
  std::uint16_t cid = 0;
  std::chrono::milliseconds patience{20000};

  // --- making requests: numbered, with a new task tag; the CmdSN is used up unless it is immediate
  struct Transfer {
    std::uint32_t in = 0;
    std::uint32_t out = 0;
    std::uint32_t immediate_data = 0;  // bytes of it that go along; the rest waits for R2T
    bool more_unasked = false;         // unsolicited Data-Out follows
    std::uint64_t lun = 0;
    iscsi::TaskAttribute attribute = iscsi::TaskAttribute::simple;
    bool immediate = false;
  };
  [[nodiscard]] iscsi::ScsiCommand command(const scsi::Cdb& cdb, const Transfer& transfer);
  [[nodiscard]] iscsi::ScsiCommand command(const scsi::Cdb& cdb) { return command(cdb, Transfer()); }
  [[nodiscard]] iscsi::TaskRequest task(iscsi::TaskFunction function, std::uint64_t lun, std::uint32_t referenced,
                                        std::uint32_t ref_cmd_sn = 0);
  [[nodiscard]] iscsi::NopOut nop(bool immediate = false);
  [[nodiscard]] iscsi::TextRequest text(bool immediate = false);
  [[nodiscard]] iscsi::LogoutRequest logout(iscsi::LogoutReason reason, std::uint16_t which = 0);
  [[nodiscard]] iscsi::DataOut data_out(const iscsi::ReadyToTransfer& r2t, std::uint32_t offset, std::uint32_t length,
                                        std::uint32_t data_sn, bool final) const;

  // --- sending. hold() collects what follows until release(), which sends it in one piece.
  template <typename Pdu>
  void send(Pdu pdu, std::span<const std::byte> data = {}, std::span<const std::byte> ahs = {}) {
    if constexpr (requires { pdu.data_length; }) {
      if (!keep_lengths) pdu.data_length = static_cast<std::uint32_t>(data.size());
    }
    if constexpr (requires { pdu.ahs_length; }) pdu.ahs_length = static_cast<std::uint16_t>(ahs.size());
    std::array<std::byte, iscsi::bhs_bytes> bhs;
    iscsi::encode(pdu, bhs);
    send_pdu(bhs, ahs, data);
  }
  void send_pdu(std::span<const std::byte> bhs, std::span<const std::byte> ahs, std::span<const std::byte> data);
  void send_bytes(std::span<const std::byte> bytes);
  void hold() { holding_ = true; }
  void release();
  bool keep_lengths = false;          // the length in the PDU is sent as it is, wrong or not
  bool damage_data_digest = false;    // of the next PDU with data
  bool damage_header_digest = false;  // of the next PDU

  // --- receiving
  // The next PDU; nothing when the target has closed the connection. NOP-Ins that ask are answered on the way unless
  // `answer_pings` is off.
  [[nodiscard]] std::optional<SeenPdu> next();
  template <typename Pdu>
  [[nodiscard]] Seen<Pdu> expect();
  // Nothing came, and nothing will before the target has answered two pings: for "is ignored".
  [[nodiscard]] bool silent();
  [[nodiscard]] bool closed();  // the next thing is the end of the connection
  bool answer_pings = true;
  bool skip_async = false;  // async messages are left out

  // --- whole exchanges
  [[nodiscard]] Seen<iscsi::ScsiResponse> status_of(const iscsi::ScsiCommand& command,
                                                    std::span<const std::byte> data = {});
  // All data of a command that reads, and its status.
  struct ReadResult {
    Bytes data;
    scsi::Status status = scsi::Status::good;
    std::uint32_t residual = 0;
    bool overflow = false;
    bool underflow = false;
    Bytes sense;
    unsigned pdus = 0;
  };
  [[nodiscard]] ReadResult read_of(const iscsi::ScsiCommand& command);
  // Answers R2Ts with what they ask for until the status comes.
  [[nodiscard]] Seen<iscsi::ScsiResponse> write_of(const iscsi::ScsiCommand& command, std::span<const std::byte> data,
                                                   std::uint32_t segment_max = 8192);
  // Security (None) and operational stage in one go or with the keys given; ends in full feature phase.
  iscsi::LoginStatus login(const iscsi::KeyValues& keys);
  iscsi::KeyValues login_answers;

  [[nodiscard]] int fd() const { return socket_.get(); }
  void close() { socket_.reset(); }

 private:
  bool receive(std::span<std::byte> bytes);
  void account(const SeenPdu& pdu);

  UniqueFd socket_;
  bool holding_ = false;
  Bytes held_;
};

[[nodiscard]] std::string describe(const SeenPdu& pdu);

namespace script_detail {
template <typename Pdu>
struct Decode;
#define MPATH_SCRIPT_DECODE(type, code, function)                \
  template <>                                                    \
  struct Decode<iscsi::type> {                                   \
    static constexpr iscsi::Opcode opcode = iscsi::Opcode::code; \
    static Result<iscsi::type> run(iscsi::Bhs bhs) {             \
      return iscsi::function(bhs);                               \
    }                                                            \
  };
MPATH_SCRIPT_DECODE(ScsiResponse, scsi_response, decode_scsi_response)
MPATH_SCRIPT_DECODE(TaskResponse, task_response, decode_task_response)
MPATH_SCRIPT_DECODE(DataIn, data_in, decode_data_in)
MPATH_SCRIPT_DECODE(ReadyToTransfer, ready_to_transfer, decode_ready_to_transfer)
MPATH_SCRIPT_DECODE(AsyncMessage, async_message, decode_async_message)
MPATH_SCRIPT_DECODE(TextResponse, text_response, decode_text_response)
MPATH_SCRIPT_DECODE(LoginResponse, login_response, decode_login_response)
MPATH_SCRIPT_DECODE(LogoutResponse, logout_response, decode_logout_response)
MPATH_SCRIPT_DECODE(Reject, reject, decode_reject)
MPATH_SCRIPT_DECODE(NopIn, nop_in, decode_nop_in)
#undef MPATH_SCRIPT_DECODE
}  // namespace script_detail

template <typename Pdu>
Seen<Pdu> ScriptInitiator::expect() {
  using Decode = script_detail::Decode<Pdu>;
  const std::optional<SeenPdu> pdu = next();
  if (!pdu) throw ScriptError(std::string("the connection ended, expected ") + iscsi::name(Decode::opcode));
  const Result<Pdu> decoded = Decode::run(pdu->header());
  if (!decoded) throw ScriptError(std::string("expected ") + iscsi::name(Decode::opcode) + ", got " + describe(*pdu));
  return Seen<Pdu>{*decoded, pdu->data};
}

}  // namespace mpath::test
