// One iSCSI session that keeps a number of commands in flight and costs as little as it can: what comes is received in
// one piece, what is to be asked next leaves in one piece.
//
// No digests, no CHAP, error recovery level 0: an error ends the run. Threads: one.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <string>
#include <vector>

#include "base/unique_fd.hpp"
#include "bench/bench_load.hpp"
#include "wire/iscsi_keys.hpp"
#include "wire/iscsi_pdu.hpp"
#include "wire/scsi_cdb.hpp"

namespace mpath::bench {

struct IscsiAddress {
  std::string portal;  // HOST:PORT
  std::string target;
  std::uint64_t lun = 0;
  std::string initiator = "iqn.2026-11.example.bench:initiator";
  std::uint8_t session = 0;  // distinguishes the sessions of one initiator
};

class IscsiClient final : public LoadClient {
 public:
  // Connects, logs in, and asks for the capacity.
  IscsiClient(const IscsiAddress& address, const Load& load, Totals& totals);

  void start(std::uint64_t now) override;
  std::uint64_t on_ready(std::uint64_t now, bool more) override;
  [[nodiscard]] bool want_write() const override { return !to_send_.empty(); }
  [[nodiscard]] std::uint32_t in_flight() const override { return in_flight_; }
  [[nodiscard]] int fd() const override { return socket_.get(); }

 private:
  using HeaderBytes = std::array<std::byte, iscsi::bhs_bytes>;
  struct Slot {
    std::uint64_t started = 0;
    bool busy = false;
    HeaderBytes command;
    std::deque<HeaderBytes> data_out;  // headers of this command's write data; addresses stay
  };
  struct Pdu {
    HeaderBytes header;
    std::vector<std::byte> data;
  };

  void log_in(const IscsiAddress& address);
  [[nodiscard]] std::uint64_t capacity_bytes();
  [[nodiscard]] std::vector<std::byte> command_now(const scsi::Cdb& cdb, std::uint32_t length, bool& good);
  [[nodiscard]] Pdu receive_pdu();

  void ask(std::uint32_t index, std::uint64_t now);
  void ask_waiting(std::uint64_t now);
  void send_data(Slot& slot, std::uint32_t itt, std::uint32_t ttt, std::uint32_t offset, std::uint32_t length);
  std::uint64_t receive(std::uint64_t now, bool more);
  // Returns whether a command ended.
  bool take(iscsi::Bhs bhs, const iscsi::Head& head, std::uint64_t now, bool more);
  bool ended(std::uint32_t itt, bool good, std::uint64_t now, bool more);
  void note_window(std::uint32_t max_cmd_sn);

  UniqueFd socket_;
  Load load_;
  Totals& totals_;
  iscsi::Parameters agreed_;
  iscsi::LunField lun_;
  std::uint32_t block_bytes_ = 512;
  std::uint64_t size_bytes_ = 0;
  std::uint32_t cmd_sn_ = 1;
  std::uint32_t max_cmd_sn_ = 1;
  std::uint32_t exp_stat_sn_ = 0;
  Pattern pattern_;
  std::vector<Slot> slots_;
  std::vector<std::uint32_t> waiting_;  // for the command window
  std::uint32_t in_flight_ = 0;

  std::vector<std::byte> staging_;
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
  std::uint64_t skip_ = 0;  // of a PDU's data

  std::vector<std::byte> payload_;   // what every write carries
  std::deque<HeaderBytes> answers_;  // to the target's NOPs; few
  SendQueue to_send_;
};

}  // namespace mpath::bench
