#include "exports/scsi_disk_rules.hpp"

#include <algorithm>
#include <array>
#include <utility>

#include "wire/scsi_reservation.hpp"
#include "wire/scsi_sense.hpp"

namespace mpath {
namespace {

using scsi::DataDirection;
using scsi::Opcode;

constexpr std::uint8_t service_action_mask = 0x1f;
constexpr std::uint32_t inquiry_bytes_max = 255;  // of the standard data: there are targets that know no more
constexpr std::uint32_t page_bytes_max = 4096;
constexpr std::uint32_t opcodes_bytes_max = 16384;

// Commands that a door passes on. The direction is that of a command with data.
struct PassRow {
  std::uint8_t opcode;
  int service;  // -1: whatever it is
  DataDirection direction;
  bool changes;
  bool repeatable = true;
  bool lengthy = false;
};
constexpr auto in = DataDirection::in;
constexpr auto out = DataDirection::out;
constexpr auto none = DataDirection::none;
constexpr std::array pass_rows = {
    PassRow{0x00, -1, none, false},               // TEST UNIT READY
    PassRow{0x03, -1, in, false},                 // REQUEST SENSE
    PassRow{0x04, -1, out, true, true, true},     // FORMAT UNIT
    PassRow{0x07, -1, out, true, true, true},     // REASSIGN BLOCKS
    PassRow{0x08, -1, in, false},                 // READ(6)
    PassRow{0x12, -1, in, false},                 // INQUIRY
    PassRow{0x15, -1, out, true},                 // MODE SELECT(6)
    PassRow{0x1a, -1, in, false},                 // MODE SENSE(6)
    PassRow{0x1b, -1, none, true, true, true},    // START STOP UNIT
    PassRow{0x1c, -1, in, false},                 // RECEIVE DIAGNOSTIC RESULTS
    PassRow{0x1d, -1, out, true, true, true},     // SEND DIAGNOSTIC
    PassRow{0x1e, -1, none, true},                // PREVENT ALLOW MEDIUM REMOVAL
    PassRow{0x25, -1, in, false},                 // READ CAPACITY(10)
    PassRow{0x28, -1, in, false},                 // READ(10)
    PassRow{0x2e, -1, out, true},                 // WRITE AND VERIFY(10)
    PassRow{0x2f, -1, out, false, true, true},    // VERIFY(10)
    PassRow{0x34, -1, none, false},               // PRE-FETCH(10)
    PassRow{0x37, -1, in, false, true, true},     // READ DEFECT DATA(10)
    PassRow{0x3b, -1, out, true, false, true},    // WRITE BUFFER
    PassRow{0x3c, -1, in, false},                 // READ BUFFER
    PassRow{0x41, -1, out, true, true, true},     // WRITE SAME(10)
    PassRow{0x42, -1, out, true, true, true},     // UNMAP
    PassRow{0x48, -1, out, true, true, true},     // SANITIZE
    PassRow{0x4c, -1, out, true},                 // LOG SELECT
    PassRow{0x4d, -1, in, false},                 // LOG SENSE
    PassRow{0x55, -1, out, true},                 // MODE SELECT(10)
    PassRow{0x5a, -1, in, false},                 // MODE SENSE(10)
    PassRow{0x5e, -1, in, false},                 // PERSISTENT RESERVE IN
    PassRow{0x5f, -1, out, true, false},          // PERSISTENT RESERVE OUT
    PassRow{0x83, -1, out, true, false, true},    // EXTENDED COPY
    PassRow{0x84, -1, in, false},                 // RECEIVE COPY RESULTS
    PassRow{0x88, -1, in, false},                 // READ(16)
    PassRow{0x89, -1, out, true, false},          // COMPARE AND WRITE
    PassRow{0x8b, -1, out, true},                 // ORWRITE(16)
    PassRow{0x8e, -1, out, true},                 // WRITE AND VERIFY(16)
    PassRow{0x8f, -1, out, false, true, true},    // VERIFY(16)
    PassRow{0x90, -1, none, false},               // PRE-FETCH(16)
    PassRow{0x93, -1, out, true, true, true},     // WRITE SAME(16)
    PassRow{0x9c, -1, out, true},                 // WRITE ATOMIC(16)
    PassRow{0x9e, 0x10, in, false},               // READ CAPACITY(16)
    PassRow{0x9e, 0x12, in, false},               // GET LBA STATUS
    PassRow{0xa2, -1, in, false, true, true},     // SECURITY PROTOCOL IN
    PassRow{0xa3, 0x05, in, false},               // REPORT IDENTIFYING INFORMATION
    PassRow{0xa3, 0x0c, in, false},               // REPORT SUPPORTED OPERATION CODES
    PassRow{0xa3, 0x0d, in, false},               // REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS
    PassRow{0xa3, 0x0f, in, false},               // REPORT TIMESTAMP
    PassRow{0xa8, -1, in, false},                 // READ(12)
    PassRow{0xae, -1, out, true},                 // WRITE AND VERIFY(12)
    PassRow{0xaf, -1, out, false, true, true},    // VERIFY(12)
    PassRow{0xb5, -1, out, true, false, true},    // SECURITY PROTOCOL OUT
    PassRow{0xb7, -1, in, false, true, true},     // READ DEFECT DATA(12)
};

const PassRow* find_row(std::uint8_t opcode, std::uint16_t service) {
  const auto row = std::ranges::find_if(pass_rows, [&](const PassRow& each) {
    return each.opcode == opcode && (each.service < 0 || each.service == service);
  });
  return row == pass_rows.end() ? nullptr : &*row;
}

bool is_block_command(std::uint8_t opcode) {
  switch (static_cast<Opcode>(opcode)) {
    case Opcode::write_6:
    case Opcode::write_10:
    case Opcode::write_12:
    case Opcode::write_16:
    case Opcode::synchronize_cache_10:
    case Opcode::synchronize_cache_16:
      return true;
    default:
      return false;
  }
}

DiskPlan refuse(const scsi::Sense& sense) {
  return {.act = DiskAct::refuse, .sense = sense};
}

class Planner {
 public:
  Planner(const scsi::Cdb& cdb, std::uint64_t data_bytes, const BlockLimits& limits, bool door)
      : cdb_(cdb), data_bytes_(data_bytes), limits_(limits), door_(door) {}

  DiskPlan operator()(const scsi::Read& read) const {
    if (read.protect != 0) return refuse(scsi::sense::invalid_field_in_cdb);
    if (read.fua && door_) return passed();
    return transfer(BlockOp::read, read.lba, read.blocks, false);
  }
  DiskPlan operator()(const scsi::Write& write) const {
    if (write.protect != 0) return refuse(scsi::sense::invalid_field_in_cdb);
    return transfer(BlockOp::write, write.lba, write.blocks, write.fua);
  }
  // The whole cache, also when a part is asked for; and done when it is answered, also with IMMED.
  DiskPlan operator()(const scsi::SynchronizeCache& command) const {
    if (!in_range(command.lba, command.blocks)) return refuse(scsi::sense::lba_out_of_range);
    return {.act = DiskAct::block, .op = BlockOp::flush};
  }
  DiskPlan operator()(const scsi::Unmap& command) const {
    if (door_) return passed();
    if (!limits_.can_trim) return refuse(scsi::sense::invalid_opcode);
    if (command.anchor) return refuse(scsi::sense::invalid_field_in_cdb);
    if (command.length > data_bytes_) return refuse(scsi::sense::parameter_list_length);
    DiskPlan plan{.act = command.length == 0 ? DiskAct::done : DiskAct::unmap, .op = BlockOp::trim};
    plan.length = command.length;
    return plan;
  }
  DiskPlan operator()(const scsi::WriteSame& command) const {
    if (door_) return passed();
    if (!limits_.can_zero) return refuse(scsi::sense::invalid_opcode);
    if (command.anchor || command.protect != 0 || command.physical) return refuse(scsi::sense::invalid_field_in_cdb);
    if (!in_range(command.lba, command.blocks)) return refuse(scsi::sense::lba_out_of_range);
    if (!command.no_data_out && data_bytes_ < limits_.block_size) return refuse(scsi::sense::invalid_field_in_cdb);
    DiskPlan plan{.act = DiskAct::block, .op = BlockOp::write_zeroes, .zero_block_follows = !command.no_data_out};
    plan.offset = command.lba * limits_.block_size;
    plan.length = command.blocks == 0 ? limits_.size_bytes - plan.offset
                                      : std::uint64_t{command.blocks} * limits_.block_size;
    return plan;
  }
  DiskPlan operator()(const scsi::PreFetch& command) const {
    if (door_) return passed();
    if (!in_range(command.lba, command.blocks)) return refuse(scsi::sense::lba_out_of_range);
    return {.act = DiskAct::done};
  }
  DiskPlan operator()(const scsi::Inquiry& inquiry) const {
    if (!inquiry.evpd) return told(DiskRewrite::inquiry, inquiry.length, inquiry_bytes_max);
    switch (static_cast<scsi::VpdPage>(inquiry.page)) {
      case scsi::VpdPage::supported:
        return told(DiskRewrite::vpd_supported, inquiry.length, page_bytes_max);
      case scsi::VpdPage::device_id:
        return told(DiskRewrite::vpd_device_id, inquiry.length, page_bytes_max);
      case scsi::VpdPage::scsi_ports:
        return refuse(scsi::sense::invalid_field_in_cdb);
      default:
        return told(DiskRewrite::none, inquiry.length, 0);
    }
  }
  DiskPlan operator()(const scsi::ReadCapacity10&) const { return told(DiskRewrite::capacity_10, 8, 8); }
  DiskPlan operator()(const scsi::ReadCapacity16& command) const {
    return told(DiskRewrite::capacity_16, command.length, 32);
  }
  DiskPlan operator()(const scsi::ModeSense& command) const {
    return told(command.short_form ? DiskRewrite::mode_6 : DiskRewrite::mode_10, command.length, command.length);
  }
  DiskPlan operator()(const scsi::RequestSense& command) const { return told(DiskRewrite::none, command.length, 0); }
  DiskPlan operator()(const scsi::TestUnitReady&) const { return door_ ? passed() : DiskPlan{.act = DiskAct::done}; }
  DiskPlan operator()(const scsi::PreventAllow&) const { return door_ ? passed() : DiskPlan{.act = DiskAct::done}; }
  DiskPlan operator()(const scsi::StartStopUnit& command) const {
    if (!command.start || command.load_eject || command.power_condition != 0) {
      return refuse(scsi::sense::invalid_field_in_cdb);
    }
    return door_ ? passed() : DiskPlan{.act = DiskAct::done};
  }
  DiskPlan operator()(const scsi::ReportSupportedOpcodes& command) const {
    if (!door_) return refuse(scsi::sense::invalid_opcode);
    if (command.options == 0) return told(DiskRewrite::opcodes, command.length, opcodes_bytes_max);
    if (!disk_command_known(command.opcode, command.options == 1 ? std::uint16_t{0xffff} : command.service)) {
      DiskPlan plan{.act = DiskAct::emulate, .cdb = cdb_};
      plan.allocation = command.length;
      return plan;
    }
    return passed();
  }
  // A second PREEMPT or CLEAR finds another state than the first; RESERVE, RELEASE and REGISTER AND IGNORE do not.
  DiskPlan operator()(const scsi::PersistentReserveOut& command) const {
    if (!door_) return refuse(scsi::sense::invalid_opcode);
    DiskPlan plan = passed();
    const bool names_type = command.service == std::to_underlying(scsi::PersistentService::reserve) ||
                            command.service == std::to_underlying(scsi::PersistentService::preempt) ||
                            command.service == std::to_underlying(scsi::PersistentService::preempt_and_abort);
    // WRITE EXCLUSIVE and EXCLUSIVE ACCESS hold for one nexus: the disk's other paths would be shut out.
    if (names_type && (command.type == 1 || command.type == 3)) return refuse(scsi::sense::invalid_field_in_cdb);
    switch (static_cast<scsi::PersistentService>(command.service)) {
      case scsi::PersistentService::reserve:
      case scsi::PersistentService::release:
      case scsi::PersistentService::register_and_ignore:
        plan.repeatable = true;
        break;
      case scsi::PersistentService::register_key:
      case scsi::PersistentService::clear:
      case scsi::PersistentService::preempt:
      case scsi::PersistentService::preempt_and_abort:
        break;
      case scsi::PersistentService::register_and_move:
        return refuse(scsi::sense::invalid_field_in_cdb);  // it names one port
    }
    return plan;
  }
  DiskPlan operator()(const scsi::Verify& command) const { return protected_or_passed(command.protect); }
  DiskPlan operator()(const scsi::WriteAndVerify& command) const { return protected_or_passed(command.protect); }
  DiskPlan operator()(const scsi::CompareAndWrite& command) const { return protected_or_passed(command.protect); }
  DiskPlan operator()(const scsi::OrWrite& command) const { return protected_or_passed(command.protect); }
  DiskPlan operator()(const scsi::WriteAtomic& command) const { return protected_or_passed(command.protect); }
  // What has no rule of its own.
  template <typename Command>
  DiskPlan operator()(const Command&) const {
    return passed();
  }

  [[nodiscard]] DiskPlan passed() const {
    const auto opcode = std::to_integer<std::uint8_t>(cdb_.bytes[0]);
    const auto service = static_cast<std::uint16_t>(std::to_integer<unsigned>(cdb_.bytes[1]) & service_action_mask);
    const PassRow* row = door_ ? find_row(opcode, service) : nullptr;
    if (row == nullptr) return refuse(scsi::sense::invalid_opcode);
    if (row->direction == none && data_bytes_ != 0) return refuse(scsi::sense::invalid_field_in_cdb);
    return {.act = DiskAct::pass,
            .cdb = cdb_,
            .direction = data_bytes_ == 0 ? none : row->direction,
            .changes = row->changes,
            .repeatable = row->repeatable,
            .lengthy = row->lengthy};
  }

 private:
  [[nodiscard]] DiskPlan protected_or_passed(std::uint8_t protect) const {
    return protect != 0 ? refuse(scsi::sense::invalid_field_in_cdb) : passed();
  }

  [[nodiscard]] bool in_range(std::uint64_t lba, std::uint64_t blocks) const {
    const std::uint64_t all = limits_.size_bytes / limits_.block_size;
    return lba < all ? blocks <= all - lba : lba == all && blocks == 0;
  }

  [[nodiscard]] DiskPlan transfer(BlockOp op, std::uint64_t lba, std::uint64_t blocks, bool fua) const {
    if (!in_range(lba, blocks)) return refuse(scsi::sense::lba_out_of_range);
    if (blocks == 0) return {.act = DiskAct::done};
    const std::uint64_t length = blocks * limits_.block_size;
    if (length > data_bytes_) return refuse(scsi::sense::invalid_field_in_cdb);  // the buffer does not hold it
    return {.act = DiskAct::block, .op = op, .offset = lba * limits_.block_size, .length = length, .fua = fua};
  }

  // Something about the disk. Where it is changed on its way, all of it is asked for, and cut afterwards.
  [[nodiscard]] DiskPlan told(DiskRewrite rewrite, std::uint32_t allocation, std::uint32_t ask_bytes) const {
    if (!door_) {
      DiskPlan plan{.act = DiskAct::emulate, .cdb = cdb_};
      plan.allocation = allocation;
      return plan;
    }
    DiskPlan plan = passed();
    if (rewrite == DiskRewrite::none || data_bytes_ == 0) return plan;
    plan.rewrite = rewrite;
    plan.ask_bytes = ask_bytes;
    plan.allocation = allocation;
    switch (rewrite) {
      case DiskRewrite::inquiry:
      case DiskRewrite::vpd_supported:
      case DiskRewrite::vpd_device_id:
        set_length(plan.cdb, 3, 2, ask_bytes);
        break;
      case DiskRewrite::capacity_16:
        set_length(plan.cdb, 10, 4, ask_bytes);
        break;
      case DiskRewrite::opcodes:
        set_length(plan.cdb, 6, 4, ask_bytes);
        break;
      case DiskRewrite::none:
      case DiskRewrite::capacity_10:
      case DiskRewrite::mode_6:
      case DiskRewrite::mode_10:
        break;
    }
    if (ask_bytes == 0) plan.rewrite = DiskRewrite::none;  // MODE SENSE of nothing
    return plan;
  }

  static void set_length(scsi::Cdb& cdb, std::size_t place, std::size_t width, std::uint32_t length) {
    for (std::size_t i = 0; i < width; ++i) {
      cdb.bytes[place + i] = static_cast<std::byte>(length >> (8 * (width - 1 - i)));
    }
  }

  const scsi::Cdb& cdb_;
  std::uint64_t data_bytes_;
  const BlockLimits& limits_;
  bool door_;
};

}  // namespace

DiskPlan plan_disk_command(const scsi::Cdb& cdb, std::uint64_t data_bytes, const BlockLimits& limits, bool door) {
  const Planner planner(cdb, data_bytes, limits, door);
  const auto command = scsi::parse_cdb(cdb.view());
  return command ? std::visit(planner, *command) : planner.passed();
}

bool disk_command_known(std::uint8_t opcode, std::uint16_t service) {
  const auto any = std::ranges::find(pass_rows, opcode, &PassRow::opcode);
  if (service == 0xffff) return any != pass_rows.end() || is_block_command(opcode) || opcode == 0xa0;
  return find_row(opcode, service) != nullptr || is_block_command(opcode) || opcode == 0xa0;  // REPORT LUNS: the kernel
}

DiskStatus disk_status(BlockStatus status, BlockOp op) {
  const auto check = [](const scsi::Sense& sense) { return DiskStatus{scsi::Status::check_condition, sense}; };
  switch (status) {
    case BlockStatus::ok:
      return {};
    case BlockStatus::io_error:
      return check(op == BlockOp::read ? scsi::sense::read_error : scsi::sense::write_error);
    case BlockStatus::invalid:
      return check(scsi::sense::invalid_field_in_cdb);
    case BlockStatus::no_space:
      return check(scsi::sense::no_space);
    case BlockStatus::read_only:
      return check(scsi::sense::write_protected);
    case BlockStatus::not_supported:
      return check(scsi::sense::invalid_opcode);
    case BlockStatus::conflict:
      return {.status = scsi::Status::reservation_conflict, .sense = {}};
    case BlockStatus::shutdown:
      break;
  }
  return check(scsi::sense::internal_failure);
}

}  // namespace mpath
