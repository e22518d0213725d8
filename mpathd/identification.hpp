// Reading what a LUN is: the commands to send, in order, and what their answers add up to. Pure; path.cpp sends them.
//
//   TEST UNIT READY -> INQUIRY -> VPD 00 -> VPD 83 -> VPD 80 -> REPORT TARGET PORT GROUPS -> READ CAPACITY -> VPD B0
//     -> VPD B2 -> MODE SENSE
//
// Unit attentions are taken off by the first command; one that says that access states have changed begins it all
// again. What a target does not know is left at its default; no identity is a failure, and no capacity is one too,
// unless the port group is in standby or in transition: such a path is known by its name alone.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "mpathd/lu_facts.hpp"
#include "mpathd/snapshot.hpp"
#include "wire/scsi.hpp"
#include "wire/scsi_data.hpp"

namespace mpath {

class Identification {
 public:
  struct Query {
    scsi::Cdb cdb;
    std::uint32_t length = 0;  // data-in bytes
  };
  struct Outcome {
    enum class Kind : std::uint8_t { known, not_a_disk, failed } kind = Kind::failed;
    LuFacts facts;                                // known
    bool sized = false;                           // known: the capacity and all that comes after it was read, too
    CheckerState checker = CheckerState::faulty;  // failed: how the path looks; known: ready, ghost (standby), pending
    std::optional<std::uint16_t> port_group;      // the target port group that the path leads to, when the LU has such
    std::optional<scsi::PortGroupReport> report;  // what it told of all groups
    bool extended_report = true;                  // it knows the extended form of that
    std::string text;                             // failed: why, one line
  };
  static constexpr std::uint32_t data_bytes_max = 4096;

  Identification();

  // The query to send next; nothing when the outcome is there.
  [[nodiscard]] const std::optional<Query>& next() const { return query_; }
  // The answer to it; `data` is what was transferred.
  void answer(scsi::Status status, const scsi::Sense& sense, std::span<const std::byte> data);
  [[nodiscard]] const Outcome& outcome() const { return outcome_; }

 private:
  enum class Step : std::uint8_t {
    ready,
    inquiry,
    vpd_supported,
    vpd_device_id,
    vpd_serial,
    port_groups_extended,
    port_groups,
    capacity_16,
    capacity_10,
    vpd_limits,
    vpd_provisioning,
    mode,
    done,
  };

  void ask(Step step);
  void ask_after(Step step);
  void fail(CheckerState checker, std::string text);
  [[nodiscard]] bool listed(std::uint8_t page) const;
  void take(Step step, std::span<const std::byte> data);
  void take_refusal(Step step, scsi::Status status, const scsi::Sense& sense);
  void on_ready(scsi::Status status, const scsi::Sense& sense);
  void take_groups(std::span<const std::byte> data);
  void conclude();

  Step step_ = Step::ready;
  std::optional<Query> query_;
  Outcome outcome_;
  std::vector<std::uint8_t> pages_;
  unsigned attentions_ = 0;
  CheckerState access_ = CheckerState::ready;  // as last told
};

}  // namespace mpath
