// The data of one write on its way in: what may come unsolicited, what is asked for by R2T, and whether what comes is
// what was agreed (RFC 7143, 4.2.4, 11.7, 11.8).
//
// Pure and without allocation. Every Data-Out goes through take(), when its header is there, and conclude(), when its
// data is there or is known to be damaged. After a fault nothing is asked for any more; what was asked for before is
// waited for, because the initiator will send it, and then the command ends with the sense of the fault.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>

#include "wire/iscsi_pdu.hpp"
#include "wire/scsi.hpp"

namespace mpath::target {

enum class WriteFault : std::uint8_t {
  none,
  unexpected_unsolicited,  // data that nobody asked for and that was not agreed
  wrong_amount,            // less or more than the burst has
  sequence,                // DataSN or buffer offset out of order
  digest,                  // damaged, and not to be asked for again
};
[[nodiscard]] scsi::Sense sense_of(WriteFault fault);

class WriteSequence {
 public:
  static constexpr std::uint32_t outstanding_limit = 8;
  static constexpr unsigned recoveries_max = 16;

  struct Rules {
    bool initial_r2t = true;
    bool immediate_data = true;
    std::uint32_t first_burst = 65536;
    std::uint32_t max_burst = 262144;
    std::uint32_t outstanding_max = 1;
    bool recover = false;  // ErrorRecoveryLevel 1: ask again for what was damaged
  };

  struct Burst {
    std::uint32_t ttt = iscsi::reserved_tag;  // that, for the unsolicited one
    std::uint32_t r2t_sn = 0;
    std::uint32_t offset = 0;
    std::uint32_t length = 0;
    std::uint32_t received = 0;
    std::uint32_t data_sn = 0;  // expected next
    bool damaged = false;
    std::uint32_t good = 0;  // when damaged: bytes before the damage
  };

  // Where the bytes of a Data-Out go: the first `store` of them to `offset`, the rest nowhere.
  struct Placement {
    bool known = false;  // false: no such burst is outstanding, reject
    std::uint32_t offset = 0;
    std::uint32_t store = 0;
  };

  // A command has come. `needed` bytes make it complete, the initiator announced `expected` (never less) and sent
  // `immediate` of them along; `final`: no unsolicited Data-Out follows.
  void begin(const Rules& rules, std::uint32_t needed, std::uint32_t expected, std::uint32_t immediate, bool final);

  [[nodiscard]] Placement take(const iscsi::DataOut& pdu);
  void conclude(const iscsi::DataOut& pdu, bool intact);

  // The next R2T to send, if there is one to be sent now; `ttt` becomes its tag.
  [[nodiscard]] std::optional<Burst> next_r2t(std::uint32_t ttt);
  // What is still to come: unsolicited (its tag is reserved), and R2Ts that are not answered.
  [[nodiscard]] std::span<const Burst> outstanding() const { return std::span(bursts_).first(burst_count_); }
  [[nodiscard]] std::uint32_t r2t_sn() const { return r2t_sn_; }  // the next one

  [[nodiscard]] WriteFault fault() const { return fault_; }
  // Nothing more is to come: all is there, or a fault has ended it.
  [[nodiscard]] bool ended() const;
  // Bytes that may come without being asked for, those with the command included: they need room at once.
  [[nodiscard]] std::uint32_t unsolicited() const { return unsolicited_; }
  [[nodiscard]] std::uint32_t needed() const { return needed_; }

 private:
  [[nodiscard]] Burst* find(std::uint32_t ttt);
  void open(const Burst& burst) { bursts_[burst_count_++] = burst; }
  void close(Burst& burst) { burst = bursts_[--burst_count_]; }
  void fail(WriteFault fault) {
    if (fault_ == WriteFault::none) fault_ = fault;
  }

  Rules rules_;
  std::uint32_t needed_ = 0;
  std::uint32_t expected_ = 0;
  std::uint32_t unsolicited_ = 0;
  std::uint32_t next_offset_ = 0;  // everything before it is there or asked for
  std::uint32_t r2t_sn_ = 0;
  unsigned recoveries_ = 0;
  WriteFault fault_ = WriteFault::none;
  std::uint32_t burst_count_ = 0;
  std::uint32_t again_count_ = 0;
  std::array<Burst, outstanding_limit + 1> bursts_;
  struct Range {
    std::uint32_t offset = 0;
    std::uint32_t length = 0;
  };
  std::array<Range, outstanding_limit + 1> again_;  // to be asked for once more
};

}  // namespace mpath::target
