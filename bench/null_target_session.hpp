// One initiator's connection to the null target: bytes in, bytes out, no socket. A disk that is not there: reads give
// one fill byte, writes vanish, everything is GOOD at once.
//
// Ownership: `disk` is borrowed. What output() names stays valid until it was sent.
// Allocation: none per READ or WRITE.
#pragma once

#include <sys/uio.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <span>
#include <string>
#include <vector>

#include "wire/iscsi_keys.hpp"
#include "wire/iscsi_pdu.hpp"
#include "wire/scsi_cdb.hpp"

namespace mpath::bench {

struct NullDisk {
  std::string target_name = "iqn.2025-11.local.mpath:null";
  std::uint64_t size_bytes = std::uint64_t{1} << 40;
  std::uint32_t block_bytes = 512;
  std::uint32_t window = 512;   // commands that an initiator may have on the way
  std::vector<std::byte> fill;  // what every read gives: as long as the longest Data-In
};
inline constexpr std::size_t data_in_bytes_max = std::size_t{256} << 10;

class NullSession {
 public:
  // `local_address` is where the initiator came to, for discovery.
  NullSession(const NullDisk& disk, std::string local_address);

  // Acts upon the PDUs in `in` and returns how many bytes are done with. Stops early when the output is full.
  [[nodiscard]] std::size_t take(std::span<const std::byte> in);

  [[nodiscard]] std::span<const iovec> output() const { return std::span(output_).subspan(output_at_); }
  void sent(std::size_t bytes);
  // Nothing more is to be read; close when the output is out.
  [[nodiscard]] bool finished() const { return finished_; }

 private:
  static constexpr std::size_t output_max = 960;  // below IOV_MAX
  static constexpr std::size_t answer_pieces_max = 16;
  struct Write {
    bool busy = false;
    iscsi::LunField lun{};
    std::uint32_t itt = 0;
    std::uint32_t length = 0;
    std::uint32_t received = 0;
    std::uint32_t r2t_sn = 0;
  };

  struct Reading {  // a read whose answer did not fit the output at once
    std::uint32_t itt = 0;
    std::uint32_t length = 0;
    std::uint32_t residual = 0;
    std::uint32_t at = 0;
    std::uint32_t burst = 0;
    std::uint32_t data_sn = 0;
  };

  [[nodiscard]] bool room() const { return output_.size() + answer_pieces_max <= output_max; }
  void handle(iscsi::Bhs bhs, const iscsi::Head& head, std::span<const std::byte> data);
  void login(iscsi::Bhs bhs, std::span<const std::byte> data);
  void command(iscsi::Bhs bhs);
  void read(const iscsi::ScsiCommand& pdu, const scsi::Read& read);
  void continue_read();
  void write(const iscsi::ScsiCommand& pdu);
  void control(const iscsi::ScsiCommand& pdu, const scsi::Command& command);
  void data_out(iscsi::Bhs bhs);
  void ask_or_finish(std::size_t slot);
  void text(iscsi::Bhs bhs, std::span<const std::byte> data);
  void nop_out(iscsi::Bhs bhs, std::span<const std::byte> data);

  template <typename Pdu>
  void put(Pdu pdu, bool takes_stat_sn);
  void put_data(std::span<const std::byte> data);  // must stay where it is
  void put_kept(std::vector<std::byte> data);      // is kept until it was sent
  void respond(const iscsi::ScsiCommand& pdu, scsi::Status status, std::uint32_t residual);
  void check_condition(const iscsi::ScsiCommand& pdu, const scsi::Sense& sense);

  const NullDisk& disk_;
  std::string local_address_;
  iscsi::Negotiation negotiation_;
  iscsi::Parameters parameters_;
  bool full_feature_ = false;
  bool declared_ = false;
  bool named_ = false;
  bool finished_ = false;
  std::uint32_t stat_sn_ = 1;
  std::uint32_t exp_cmd_sn_ = 0;
  std::size_t skip_ = 0;  // bytes of write data still to come
  Reading reading_;
  std::vector<Write> writes_;
  std::size_t writes_busy_ = 0;

  std::vector<std::array<std::byte, iscsi::bhs_bytes>> headers_;
  std::deque<std::vector<std::byte>> kept_;
  std::vector<iovec> output_;
  std::size_t output_at_ = 0;
};

}  // namespace mpath::bench
