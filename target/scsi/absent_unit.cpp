#include "target/scsi/absent_unit.hpp"

#include <algorithm>
#include <variant>

#include "wire/scsi_cdb.hpp"
#include "wire/scsi_data.hpp"
#include "wire/scsi_sense.hpp"

namespace mpath::target {
namespace {

namespace sense = scsi::sense;

constexpr std::uint8_t qualifier_nothing = 3;
constexpr std::uint8_t type_unknown = 0x1f;
constexpr std::uint8_t spc_4 = 6;

// SELECT REPORT. On the wire: never renumber.
constexpr std::uint8_t select_ordinary = 0;
constexpr std::uint8_t select_well_known = 1;
constexpr std::uint8_t select_all = 2;

std::span<const std::byte> cdb_of(const Task& task) {
  return std::span(task.cdb).first(std::min<std::size_t>(task.cdb_length, task.cdb.size()));
}

void good(Task& task, std::span<const std::byte> answer, std::uint64_t allocation_length) {
  const auto cut = answer.first(std::min<std::uint64_t>(answer.size(), allocation_length));
  task.status = scsi::Status::good;
  task.transfer_bytes = cut.size();
  std::size_t copied = 0;
  for (const iovec& part : task.data_in) {
    const std::size_t room = std::min<std::size_t>(part.iov_len, task.data_in_room - copied);
    const std::size_t count = std::min(room, cut.size() - copied);
    std::copy_n(cut.begin() + static_cast<std::ptrdiff_t>(copied), count, static_cast<std::byte*>(part.iov_base));
    copied += count;
  }
  task.data_in_bytes = static_cast<std::uint32_t>(copied);
}

void fail(Task& task, const scsi::Sense& why) {
  const auto bytes = scsi::encode_sense({.sense = why});
  std::ranges::copy(bytes.view(), task.sense.bytes.begin());
  task.sense.length = bytes.length;
  task.status = scsi::Status::check_condition;
}

void answer(Task& task, const scsi::ReportLuns& command, std::span<const scsi::Lun> luns) {
  switch (command.select) {
    case select_ordinary:
    case select_all:
      return good(task, scsi::encode_luns(luns), command.length);
    case select_well_known:  // there are none
      return good(task, scsi::encode_luns({}), command.length);
  }
  fail(task, sense::invalid_field_in_cdb);
}

void answer(Task& task, const scsi::Inquiry& command) {
  if (command.evpd) return fail(task, sense::invalid_field_in_cdb);
  if (command.page != 0) return fail(task, sense::invalid_field_in_cdb);
  good(task, scsi::encode_inquiry({.qualifier = qualifier_nothing, .type = type_unknown, .version = spc_4}),
       command.length);
}

void answer(Task& task, const scsi::RequestSense& command) {
  const auto bytes = scsi::encode_sense({.sense = sense::lun_not_supported, .descriptor_format = command.descriptor});
  good(task, bytes.view(), command.length);
}

}  // namespace

bool is_report_luns(const Task& task) {
  return task.cdb[0] == static_cast<std::byte>(scsi::Opcode::report_luns);
}

void answer_absent(Task& task, std::span<const scsi::Lun> luns) {
  task.aborted = false;
  task.data_in_bytes = 0;
  task.transfer_bytes = 0;
  task.sense.length = 0;
  const auto command = scsi::parse_cdb(cdb_of(task));
  if (!command) return fail(task, sense::lun_not_supported);
  if (const auto* report = std::get_if<scsi::ReportLuns>(&*command)) return answer(task, *report, luns);
  if (const auto* inquiry = std::get_if<scsi::Inquiry>(&*command)) return answer(task, *inquiry);
  if (const auto* request = std::get_if<scsi::RequestSense>(&*command)) return answer(task, *request);
  fail(task, sense::lun_not_supported);
}

}  // namespace mpath::target
